//! Lists that are read whole, a page at a time.

/// How many things one statement reads.
pub(crate) const PAGE: i64 = 500;

/// All of a list. `read`: the [`PAGE`] things after one of them; `key`: what the next page begins after.
pub(crate) async fn every<T, K, E>(
    mut read: impl AsyncFnMut(Option<K>) -> Result<Vec<T>, E>,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>, E> {
    let mut all = Vec::new();
    loop {
        let page = read(all.last().map(&key)).await?;
        let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}
