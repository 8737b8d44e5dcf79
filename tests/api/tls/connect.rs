//! Connections with TLS, for what no HTTP client shows.

use std::{io, sync::Arc};

use actix_web::web::Bytes;
use h2::client::{self, SendRequest};
use http::{HeaderMap, Request};
use rustls::{
    ClientConfig, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How to connect.
pub(crate) struct Connect {
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) protocols: Vec<Vec<u8>>,
}

impl Default for Connect {
    fn default() -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self { versions: rustls::ALL_VERSIONS.to_vec(), provider, protocols: Vec::new() }
    }
}

impl Connect {
    /// Connects to a server, whatever its certificate.
    pub(crate) async fn to(self, url: &str) -> io::Result<TlsStream<TcpStream>> {
        let verifier = Arc::new(Any(Arc::clone(&self.provider)));
        let config = ClientConfig::builder_with_provider(self.provider).with_protocol_versions(&self.versions).unwrap();
        let config = config.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = self.protocols;
        let io = TcpStream::connect(url.trim_start_matches("https://")).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, io).await
    }
}

/// Accepts any certificate.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    pub(crate) requests: SendRequest<Bytes>,
    /// How the connection ends.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
    authority: String,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Http2 {
    pub(crate) async fn to(url: &str) -> Self {
        Self::with(url, &client::Builder::new()).await
    }

    pub(crate) async fn with(url: &str, builder: &client::Builder) -> Self {
        let connect = Connect { protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()], ..Connect::default() };
        let io = connect.to(url).await.unwrap();
        assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (requests, connection) = builder.handshake(io).await.unwrap();
        let authority = url.trim_start_matches("https://").to_owned();
        Self { requests, connection: tokio::spawn(connection), authority }
    }

    /// Returns a request to build.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("https://{}{path}", self.authority))
    }

    /// Returns the request of a login.
    pub(crate) fn login(&self) -> Request<()> {
        let request = self.request("POST", "/token").header("content-type", "application/x-www-form-urlencoded");
        request.body(()).unwrap()
    }

    /// Sends a request, and returns its response.
    pub(crate) async fn send(&self, request: Request<()>, body: impl Into<Bytes>) -> Result<Response, h2::Error> {
        let body = body.into();
        let mut requests = self.requests.clone().ready().await?;
        let (response, mut stream) = requests.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(body, true)?;
        }
        let (parts, mut received) = response.await?.into_parts();
        let mut body = Vec::new();
        while let Some(chunk) = received.data().await {
            let chunk = chunk?;
            received.flow_control().release_capacity(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// Sends a request without a body.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(self.request("GET", path).body(()).unwrap(), "").await.unwrap()
    }
}
