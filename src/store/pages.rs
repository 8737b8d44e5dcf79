//! Reads a whole list, page by page.

/// The number of items that a statement reads.
pub(crate) const PAGE: i64 = 500;

/// Returns all items of a list. `read` returns the [`PAGE`] items after a key, and `key` the key of an item.
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
