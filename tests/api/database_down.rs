//! The database goes away and comes back: 503 and never 401, then all is as before.

use crate::harness::{Database, Form, Proxy, TestServer, beginning};
use grantd::clock::Clock;

#[actix_web::test]
async fn a_cut_line_is_503_and_heals_by_itself() {
    let Some(database) = Database::postgres().await else { return };
    let proxy = Proxy::before(database.url());
    let flags = ["--database-timeout", "1s"];
    let server = TestServer::on(proxy.url(), &flags, Clock::manual(beginning())).await.unwrap();
    let token = server.admin().await;
    for silent in [false, true] {
        if silent {
            proxy.silence();
        } else {
            proxy.cut();
        }
        for _ in 0..2 {
            let answer = server.get("/users/me").bearer(&token).send().await;
            answer.problem(503, "unavailable");
            assert_eq!(answer.header("retry-after"), "1");
            server.get("/readyz").send().await.problem(503, "unavailable");
            let answer = server.token(&Form::admin()).send().await;
            answer.oauth_error(503, "temporarily_unavailable");
            assert_eq!(answer.header("retry-after"), "1");
            server.get("/healthz").send().await.json_with(200);
            server.get("/.well-known/jwks.json").send().await.json_with(200);
        }
        proxy.restore();
        crate::harness::eventually("the server is ready", async || server.get("/readyz").send().await.status == 200)
            .await;
        server.get("/users/me").bearer(&token).send().await.json_with(200);
        server.token(&Form::admin()).send().await.json_with(200);
    }
    drop(server);
}
