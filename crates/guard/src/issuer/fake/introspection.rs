//! The introspection endpoint of the test issuer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// The responses of the endpoint, and the requests that it got.
#[derive(Clone)]
pub(crate) struct Introspection(Arc<Mutex<Script>>);

struct Script {
    status: u16,
    /// The response for each key; others are inactive.
    keys: HashMap<String, Value>,
    asked: Vec<(String, String)>,
}

impl Default for Introspection {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Script { status: 200, keys: HashMap::new(), asked: Vec::new() })))
    }
}

impl Introspection {
    pub(crate) fn set_status(&self, status: u16) {
        self.0.lock().unwrap().status = status;
    }

    /// Sets the response for a key; `None`: inactive.
    pub(crate) fn set(&self, key: &str, answer: Option<Value>) {
        self.0.lock().unwrap().keys.insert(key.to_owned(), answer.unwrap_or_else(inactive));
    }

    /// Returns the `Authorization` header and the token of each request.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().asked.clone()
    }

    pub(crate) fn hits(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }
}

fn inactive() -> Value {
    json!({"active": false})
}

pub(super) async fn answer(
    req: HttpRequest,
    form: web::Form<HashMap<String, String>>,
    introspection: web::Data<Introspection>,
    gate: web::Data<Semaphore>,
) -> HttpResponse {
    let authorization = req.headers().get("Authorization").unwrap().to_str().unwrap().to_owned();
    // Before the gate: a delayed response shows what was true when the request arrived.
    let (status, body) = {
        let mut script = introspection.0.lock().unwrap();
        script.asked.push((authorization, form["token"].clone()));
        (script.status, script.keys.get(&form["token"]).cloned().unwrap_or_else(inactive))
    };
    gate.acquire().await.unwrap().forget();
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).json(body)
}
