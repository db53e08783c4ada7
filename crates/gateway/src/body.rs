//! Takes in a request's body: bounded in size, in time, and in what all requests hold together.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget is counted in units of this size.
const UNIT_BYTES: usize = 64 * 1024;
/// A body over its limit is read and thrown away up to this size, so that the client gets to read the answer.
const DISCARD_BYTES_MAX: usize = 160 * 1024 * 1024;

/// Bytes of bodies that all requests together may hold.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT_BYTES)))
    }
}

/// A body in memory; its share of the budget is given back with it.
pub(crate) struct Taken {
    pub(crate) bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoBody {
    TooLarge { limit: usize },
    TooSlow,
    NoRoom,
    Broken,
}

/// Reads the whole body.
pub(crate) async fn take(
    mut body: Incoming,
    limit: usize,
    deadline: Duration,
    budget: &Budget,
) -> Result<Taken, NoBody> {
    let reading = async {
        let announced = body.size_hint().exact().map_or(limit, |size| usize::try_from(size).unwrap_or(usize::MAX));
        if announced > limit {
            discard(&mut body).await;
            return Err(NoBody::TooLarge { limit });
        }
        let units = u32::try_from(announced.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let share = budget.0.clone().acquire_many_owned(units).await.map_err(|_| NoBody::NoRoom)?;
        let mut parts = BytesMut::new();
        let mut first: Option<Bytes> = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| NoBody::Broken)?.into_data() else { continue };
            if parts.len() + first.as_ref().map_or(0, Bytes::len) + data.len() > limit {
                discard(&mut body).await;
                return Err(NoBody::TooLarge { limit });
            }
            // Most bodies come in one piece, which is then handed on as it is.
            match first.take() {
                None if parts.is_empty() => first = Some(data),
                None => parts.extend_from_slice(&data),
                Some(piece) => {
                    parts.reserve(announced);
                    parts.extend_from_slice(&piece);
                    parts.extend_from_slice(&data);
                }
            }
        }
        Ok(Taken { bytes: first.unwrap_or_else(|| parts.freeze()), _share: share })
    };
    tokio::time::timeout(deadline, reading).await.unwrap_or(Err(NoBody::TooSlow))
}

async fn discard(body: &mut Incoming) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > DISCARD_BYTES_MAX {
            return;
        }
    }
}
