//! The trace context of the requests to the issuer.

use opentelemetry::{
    Context,
    trace::{FutureExt as _, SpanContext, TraceContextExt as _, TraceFlags, TraceState},
};

use super::*;

#[actix_web::test]
async fn a_fetch_is_part_of_the_trace_of_the_request_that_needs_it() {
    let issuer = FakeIssuer::start();
    let signer = Signer::es256("k1");
    issuer.publish([signer.jwk()]);
    let guard = issuer.builder().cool_down(1).build().unwrap();
    let trace = SpanContext::new(
        0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.into(),
        0x00f0_67aa_0ba9_02b7_u64.into(),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let context = Context::new().with_remote_span_context(trace);
    guard.authenticate(&signer.token(issuer.claims())).with_context(context).await.unwrap();
    let expected = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    assert_eq!(issuer.traces(), [expected.clone(), expected]);

    // Without a trace, there is no header.
    issuer.advance(10_000);
    guard.fetch_keys().await;
    assert_eq!(issuer.traces()[2..], [None, None]);
}
