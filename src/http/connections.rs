//! The limit of simultaneous connections of a network.

use std::any::Any;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{dev::Extensions, rt::net::TcpStream};
use rustix::net::{Shutdown, shutdown};

use crate::app::App;

/// Counts a new connection as long as it is open, or closes it if its network has too many.
///
/// It is closed without a response: a caller that sends nothing would hold it until the timeout of a request's head.
pub(crate) fn count(app: &App, stream: &dyn Any, data: &mut Extensions) {
    let plain = stream.downcast_ref::<TcpStream>();
    let Some(stream) = plain.or_else(|| Some(stream.downcast_ref::<TlsStream<TcpStream>>()?.get_ref().0)) else {
        return;
    };
    // It is closed already.
    let Ok(peer) = stream.peer_addr() else { return };
    match app.limits.count_connection(peer.ip()) {
        // In the data of the connection, with which it is dropped.
        Ok(Some(connection)) => drop(data.insert(connection)),
        Ok(None) => {}
        Err(_) => {
            tracing::debug!(address = %peer.ip(), "a connection was closed: its network has too many");
            // Fails only if the caller has closed it meanwhile.
            let _ = shutdown(stream, Shutdown::Both);
        }
    }
}
