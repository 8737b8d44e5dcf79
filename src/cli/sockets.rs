//! Sockets that the service manager has opened (socket activation, `sd_listen_fds(3)`).

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use crate::config::Settings;

/// Sockets that listen already.
#[derive(Default)]
pub(super) struct Sockets(Vec<TcpListener>);

impl Sockets {
    /// Takes those of `LISTEN_FDS`. Called before there is another thread: it changes the environment.
    pub(super) fn inherited() -> Result<Self, String> {
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Vec::new();
        for at in 0..descriptors.len() {
            let taken = descriptors.take_tcp_listener(at).map_err(|error| format!("LISTEN_FDS: {error}"))?;
            let Some(socket) = taken.filter(|socket| socket_acceptconn(socket).is_ok_and(|listens| listens)) else {
                return Err("LISTEN_FDS: a socket does not listen; the unit of the socket needs Accept=no".to_owned());
            };
            sockets.push(socket);
        }
        Ok(Self(sockets))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the settings with the addresses of the sockets, if there are any, in the place of `GRANTD_LISTEN`: the checks of public
    /// addresses apply to them.
    pub(super) fn replace_listen(&self, settings: Settings) -> io::Result<Settings> {
        if self.is_empty() {
            return Ok(settings);
        }
        let addresses = self.0.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<SocketAddr>>>()?;
        Ok(settings.listening_on(&addresses))
    }

    pub(super) fn into_listeners(self) -> Vec<TcpListener> {
        self.0
    }
}
