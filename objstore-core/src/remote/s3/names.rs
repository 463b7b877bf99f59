use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use objstore_client::wire::headers::{REQUEST_ID, TRACEPARENT};

use crate::request_context::RequestContext;

/// Puts the names of the current request into each request to the bucket, behind the signature's
/// back: whoever stands between may change a `traceparent`.
#[derive(Debug)]
pub(super) struct Names;

impl Intercept for Names {
    fn name(&self) -> &'static str {
        "objstore-names"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let current = RequestContext::current();
        let headers = context.request_mut().headers_mut();
        for (name, value) in
            [(REQUEST_ID, current.request_id()), (TRACEPARENT, current.traceparent())]
        {
            if let Some(value) = value {
                headers.try_insert(name, value.to_owned())?;
            }
        }
        Ok(())
    }
}
