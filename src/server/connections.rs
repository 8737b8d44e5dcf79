//! Connections: with TLS or without, HTTP/1.1 or HTTP/2, each with its timeouts.
//!
//! `HttpServer` of actix-web does the same without the limits of `timed.rs` and `http2.rs`, and has no place to add them. HTTP/1.1
//! is that of actix-http.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_http::{HttpServiceBuilder, Payload, Request, Response, body::MessageBody, error::DispatchError};
use actix_server::ServerBuilder;
use actix_service::{Service, ServiceFactory, ServiceFactoryExt as _, fn_factory, fn_service, map_config};
use actix_web::{
    Error,
    dev::{AppConfig, ServiceResponse},
    rt::net::TcpStream,
    web,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    http2::{self, Caller, Stages},
    timed::{Body, Requests, Running, Timed},
    workers::{Worker, Workers},
};
use crate::{
    app::App,
    config::Timeouts,
    http::{self, Documents},
    limits::Connection,
};

/// How long the server reads on from a connection that it closes: a caller that still sends would lose the response otherwise.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// What the connections of an address share.
#[derive(Clone)]
pub(super) struct Listening {
    pub(super) app: Arc<App>,
    pub(super) documents: web::Data<Documents>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) workers: Arc<Workers>,
}

impl Listening {
    /// Adds an address to the server.
    pub(super) fn add(self, server: ServerBuilder, listener: TcpListener) -> io::Result<ServerBuilder> {
        match self.tls.clone() {
            None => server.listen("http", listener, move || {
                let listening = self.clone();
                fn_factory(move || {
                    let listening = listening.clone();
                    let (app, workers) = (Arc::clone(&listening.app), Arc::clone(&listening.workers));
                    plain(app, workers, listening.service())
                })
            }),
            Some(tls) => server.listen("https", listener, move || {
                let (listening, tls) = (self.clone(), tls.clone());
                fn_factory(move || listening.clone().encrypted(tls.clone()))
            }),
        }
    }

    /// Builds what a worker thread answers the requests with.
    async fn service(
        self,
    ) -> Result<Rc<impl Service<Request, Response = Response<impl MessageBody>, Error = Error>>, ()> {
        let service = map_config(http::server(self.app, self.documents), |()| AppConfig::default());
        Ok(Rc::new(service.map(ServiceResponse::into).new_service(()).await?))
    }

    async fn encrypted(self, tls: TlsAcceptor) -> Result<impl Service<TcpStream, Response = (), Error = ()>, ()> {
        let timeouts = self.app.config.http.timeouts;
        let (app, worker) = (Arc::clone(&self.app), self.workers.start());
        let service = self.service().await?;
        let http1 = Rc::new(http1(Rc::clone(&service), timeouts, Rc::clone(&worker)).await?);
        Ok(fn_service(move |io: TcpStream| {
            let (tls, http1, worker) = (tls.clone(), Rc::clone(&http1), Rc::clone(&worker));
            let (app, service) = (Arc::clone(&app), Rc::clone(&service));
            async move {
                let address = set_up(&io, timeouts);
                let _counted = (admitted(&app, address)?, worker.connect());
                let Some(io) = handshake(&tls, io, timeouts, &worker).await else { return Ok(()) };
                let is_http2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
                let io = Timed::new(io, timeouts, Rc::clone(&worker));
                if !is_http2 {
                    return http1.call((io, address)).await.map_err(drop);
                }
                // For the stream, a request is always in progress: heads are the concern of `http2`.
                let _running = io.requests().begin(false);
                let caller = Caller { service, address, clock: app.clock.clone(), worker: Rc::clone(&worker) };
                http2::serve(io, caller, timeouts, Stages { stopping: app.stopping(), closing: worker.closing() })
                    .await;
                Ok(())
            }
        }))
    }
}

/// Adds the address for metrics to a server.
pub(super) fn add_metrics(
    app: Arc<App>,
    workers: Arc<Workers>,
    server: ServerBuilder,
    listener: TcpListener,
) -> io::Result<ServerBuilder> {
    server.listen("metrics", listener, move || {
        let (app, workers) = (Arc::clone(&app), Arc::clone(&workers));
        fn_factory(move || {
            let of_metrics = Arc::clone(&app);
            let service = async move {
                let service = map_config(http::metrics::server(of_metrics), |()| AppConfig::default());
                Ok(Rc::new(service.map(ServiceResponse::into).new_service(()).await?))
            };
            plain(Arc::clone(&app), Arc::clone(&workers), service)
        })
    })
}

/// Builds what a worker thread does with a connection without TLS.
async fn plain<S, B>(
    app: Arc<App>,
    workers: Arc<Workers>,
    service: impl Future<Output = Result<Rc<S>, ()>>,
) -> Result<impl Service<TcpStream, Response = (), Error = ()>, ()>
where
    S: Service<Request, Response = Response<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    let (timeouts, worker) = (app.config.http.timeouts, workers.start());
    let http1 = Rc::new(http1(service.await?, timeouts, Rc::clone(&worker)).await?);
    Ok(fn_service(move |io: TcpStream| {
        let (app, http1, worker) = (Arc::clone(&app), Rc::clone(&http1), Rc::clone(&worker));
        async move {
            let address = set_up(&io, timeouts);
            let _counted = (admitted(&app, address)?, worker.connect());
            http1.call((Timed::new(io, timeouts, worker), address)).await.map_err(drop)
        }
    }))
}

/// Sets the options of a connection, and returns its address.
fn set_up(io: &TcpStream, timeouts: Timeouts) -> Option<SocketAddr> {
    // A response is written at once; what follows it must not wait for its acknowledgement.
    let _ = io.set_nodelay(true);
    // What the system buffers is out of reach for `Timed`: it ends the connection if the caller takes nothing for this long.
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(io, timeouts.answer.as_millis().try_into().unwrap_or(u32::MAX));
    io.peer_addr().ok()
}

/// Counts a connection until the result is dropped. An error closes it, without a response: a caller that sends nothing would hold
/// it until the timeout of the head.
fn admitted(app: &App, address: Option<SocketAddr>) -> Result<Option<Connection>, ()> {
    // Without an address, it is closed already.
    let peer = address.ok_or(())?.ip();
    app.limits.count_connection(peer).map_err(|_| {
        tracing::debug!(address = %peer, "a connection was closed: its network has too many");
    })
}

async fn handshake(
    tls: &TlsAcceptor,
    io: TcpStream,
    timeouts: Timeouts,
    worker: &Worker,
) -> Option<TlsStream<TcpStream>> {
    let done = tokio::select! {
        done = timeout(timeouts.head, tls.accept(io)) => done,
        () = worker.closing() => return None,
    };
    match done {
        Ok(Ok(io)) => return Some(io),
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
    None
}

/// Notes that a request begins, and when its body was read.
fn begin(request: &mut Request, requests: Rc<Requests>) -> Running {
    let payload = request.take_payload();
    let has_body = !matches!(payload, Payload::None);
    if has_body {
        let body = Body { payload, requests: Rc::clone(&requests) };
        *request.payload() = Payload::Stream { payload: Box::pin(body) };
    }
    requests.begin(has_body)
}

/// Builds HTTP/1.1, which tells each stream about its requests.
async fn http1<T, S, B>(
    service: Rc<S>,
    timeouts: Timeouts,
    worker: Rc<Worker>,
) -> Result<impl Service<(Timed<T>, Option<SocketAddr>), Response = (), Error = DispatchError>, ()>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request, Response = Response<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    let of_signal = Rc::clone(&worker);
    let answer = fn_service(move |mut request: Request| {
        let counted = worker.begin();
        let running = request.conn_data::<Rc<Requests>>().map(Rc::clone).map(|requests| begin(&mut request, requests));
        let response = service.call(request);
        async move {
            let _running = (running, counted);
            response.await
        }
    });
    HttpServiceBuilder::default()
        .on_connect_ext(|io: &Timed<T>, data| drop(data.insert(io.requests())))
        .graceful_shutdown_signal(move || {
            let worker = Rc::clone(&of_signal);
            async move { worker.closing().await }
        })
        .client_request_timeout(timeouts.head)
        .client_disconnect_timeout(LINGER)
        .keep_alive(timeouts.idle)
        // A client that closes its end has gone away: what it asked for is dropped, above all a password to hash.
        .h1_allow_half_closed(false)
        .h1(answer)
        .new_service(())
        .await
}
