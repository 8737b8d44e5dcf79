//! The signing keys and server keys as an audit sees them. Nothing is created.

use aws_lc_rs::signature::RsaPublicKeyComponents;

use super::{KeyPair, SigningKey, live, open_sealed, sql, unseal};
use crate::{
    secret::MasterKey,
    store::{Conn, StoreError, conn},
};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;

/// A signing key, and whether it can be used.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) key: SigningKey,
    /// Whether it opens under the master key.
    pub(crate) opens: bool,
    /// The length of the modulus of an RSA key that opens.
    pub(crate) rsa_bits: Option<usize>,
}

/// Returns the keys that are next, active, or retired with tokens that may still be valid.
pub(crate) async fn inspect(
    conn: &mut Conn,
    master_key: &MasterKey,
    now: DateTime<Utc>,
) -> Result<Vec<Inspected>, StoreError> {
    let rows = live(conn, now).await?;
    let inspected = rows.iter().map(|row| {
        let pair = unseal(row, master_key).ok();
        let rsa_bits = pair.as_ref().and_then(rsa_bits);
        Ok(Inspected { key: SigningKey::try_from(row)?, opens: pair.is_some(), rsa_bits })
    });
    inspected.collect()
}

fn rsa_bits(pair: &KeyPair) -> Option<usize> {
    let KeyPair::Rs256(pair) = pair else { return None };
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(aws_lc_rs::signature::KeyPair::public_key(pair));
    let zeros = public.n.iter().take_while(|byte| **byte == 0).count();
    let leading = public.n.get(zeros)?.leading_zeros() as usize;
    Some((public.n.len() - zeros) * 8 - leading)
}

/// Returns the names of the server keys that do not open under the master key.
pub(crate) async fn closed_server_keys(conn: &mut Conn, master_key: &MasterKey) -> Result<Vec<String>, StoreError> {
    let rows = conn::all!(conn, sql::ServerKeyRow, sql::SERVER_KEYS)?;
    let closed = rows.into_iter().filter(|row| open_sealed(master_key, &row.sealed, &row.name).is_err());
    Ok(closed.map(|row| row.name).collect())
}

/// Returns the server key with this name. `None`: it does not exist, or does not open.
pub(crate) async fn existing_server_key(
    conn: &mut Conn,
    master_key: &MasterKey,
    name: &str,
) -> Result<Option<[u8; 32]>, StoreError> {
    let Some((sealed,)) = conn::optional!(conn, (Vec<u8>,), sql::SERVER_KEY, name)? else { return Ok(None) };
    let opened = open_sealed(master_key, &sealed, name).ok();
    Ok(opened.and_then(|key| key.expose_secret().as_slice().try_into().ok()))
}
