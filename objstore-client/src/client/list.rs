use std::sync::Arc;

use super::Client;
use super::lines::Lines;
use crate::error::Error;
use crate::options::ListOptions;
use crate::transport::Request;
use crate::types::ObjectMeta;
use crate::wire::routes;

impl Client {
    /// One page of the objects that the node knows, in order of id. The next page starts `after`
    /// the last id of this one; an empty page is the end. Objects put meanwhile may or may not
    /// appear.
    ///
    /// # Errors
    /// Those of `Node::list`; [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no node
    /// answered.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<Arc<ObjectMeta>>, Error> {
        let limit = options.limit.clamp(1, ListOptions::MAX_LIMIT);
        let after = options.after.map(|id| format!("&after={id}")).unwrap_or_default();
        let deleted = if options.include_deleted { "&deleted=1" } else { "" };
        let request = Request::get(format!("{}?limit={limit}{after}{deleted}", routes::LIST));
        let page = self.ask(&request, |answer| async move {
            let mut lines = Lines::of(answer)?;
            let mut page = Vec::new();
            while let Some(meta) = lines.next().await? {
                page.push(Arc::new(meta));
            }
            Ok(page)
        });
        page.await
    }
}
