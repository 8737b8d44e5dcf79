use actix_web::{
    App, HttpResponse,
    test::{TestRequest, call_service, init_service, read_body},
    web::{self, ServiceConfig},
};

use super::{ItemsRead, ItemsWrite, Seen};
use crate::{
    Guard,
    actix::{Authenticated, Require},
};

async fn anyone(caller: Authenticated) -> String {
    caller.claims().username.clone().unwrap_or_else(|| caller.client_id.clone())
}

async fn read(caller: Require<ItemsRead>) -> String {
    caller.sub.clone()
}

async fn both(_: Require<(ItemsRead, ItemsWrite)>) -> HttpResponse {
    HttpResponse::NoContent().finish()
}

fn routes(config: &mut ServiceConfig) {
    config.route("/anyone", web::get().to(anyone)).route("/read", web::get().to(read));
    config.route("/both", web::get().to(both));
}

/// Returns a service whose routes have this guard, also behind middleware.
pub(super) fn service(guard: Option<&Guard>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config.configure(routes);
        if let Some(guard) = guard {
            config.app_data(guard.clone());
            let scope = |path, scopes| web::scope(path).wrap(guard.require(scopes).unwrap()).configure(routes);
            config.service(scope("/wrapped", "items:read items:write")).service(scope("/any", ""));
        }
    }
}

/// Returns a service whose routes have the guard `inner`, behind middleware of the guard `outer`.
pub(super) fn wrapped(outer: &Guard, inner: Option<&Guard>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let mut scope = web::scope("");
        if let Some(inner) = inner {
            scope = scope.app_data(inner.clone());
        }
        config.service(scope.configure(routes).wrap(outer.require("").unwrap()));
    }
}

pub(super) async fn send(service: impl FnOnce(&mut ServiceConfig), uri: &str, headers: &[(&str, &str)]) -> Seen {
    let app = init_service(App::new().configure(service)).await;
    let mut request = TestRequest::get().uri(uri);
    for header in headers {
        request = request.append_header(*header);
    }
    let answer = call_service(&app, request.to_request()).await;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    Seen::new(status, header, &read_body(answer).await)
}
