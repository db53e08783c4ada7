//! Takes in a request's body: bounded in size, in time, and in what all requests hold together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use model::ids::FunctionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::door::Door;

/// The budget is counted in units of this size.
const UNIT_BYTES: usize = 64 * 1024;
/// A body of this size needs no share of the budget, so that most requests never wait for room.
pub(crate) const SMALL_BYTES: usize = 64 * 1024;
/// How long a body waits for room before the request is refused. It ends a deadlock of bodies that each hold a part too.
pub(crate) const ROOM_WAIT: Duration = Duration::from_secs(5);
/// A refused body is read and thrown away up to this size, so that the client gets to read the answer.
const DISCARD_BYTES_MAX: usize = 160 * 1024 * 1024;
/// A refused body is thrown away for this long.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of bodies that all requests together may hold; guests have a budget of their own.
pub(crate) struct Budgets {
    host: Arc<Semaphore>,
    guests: Arc<Semaphore>,
    /// What the instances of one function may hold of the guests' budget.
    function_units: usize,
    functions: Mutex<HashMap<FunctionId, Weak<Semaphore>>>,
}

impl Budgets {
    pub(crate) fn new(host_bytes: usize, guests_bytes: usize, function_bytes: usize) -> Self {
        Self {
            host: Arc::new(Semaphore::new(host_bytes / UNIT_BYTES)),
            guests: Arc::new(Semaphore::new(guests_bytes / UNIT_BYTES)),
            function_units: function_bytes / UNIT_BYTES,
            functions: Mutex::default(),
        }
    }

    /// What requests through a door draw on. A function waits for itself before others wait for it.
    fn of(&self, door: &Door) -> Vec<Arc<Semaphore>> {
        match door {
            Door::Host(_) => vec![self.host.clone()],
            Door::Guest(function) => vec![self.of_function(function), self.guests.clone()],
        }
    }

    fn of_function(&self, function: &FunctionId) -> Arc<Semaphore> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        functions.get(function).and_then(Weak::upgrade).unwrap_or_else(|| {
            // What nobody draws on any more goes, so that the map holds no more than there are connections.
            functions.retain(|_, budget| budget.strong_count() > 0);
            let own = Arc::new(Semaphore::new(self.function_units));
            functions.insert(function.clone(), Arc::downgrade(&own));
            own
        })
    }
}

/// What a body holds of the budgets, and how long it may still wait for more.
struct Share {
    permits: Vec<OwnedSemaphorePermit>,
    patience: Duration,
}

impl Share {
    async fn grow(&mut self, bounds: &Bounds<'_>, bytes: usize) -> Result<(), NoBody> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).map_err(|_| NoBody::NoRoom)?;
        let begun = tokio::time::Instant::now();
        for budget in bounds.budgets.of(bounds.door) {
            let left = self.patience.saturating_sub(begun.elapsed());
            let permit = tokio::time::timeout(left, budget.acquire_many_owned(units)).await;
            self.permits.push(permit.map_err(|_| NoBody::NoRoom)?.map_err(|_| NoBody::NoRoom)?);
        }
        self.patience = self.patience.saturating_sub(begun.elapsed());
        Ok(())
    }
}

/// A body in memory; its share of the budgets is given back with it.
pub(crate) struct Taken {
    pub(crate) bytes: Bytes,
    _share: Vec<OwnedSemaphorePermit>,
}

/// Why there is no body.
#[derive(Debug, PartialEq)]
pub(crate) enum NoBody {
    TooLarge { limit: usize },
    TooSlow,
    NoRoom,
    Broken,
    Refused(wire::Error),
}

/// Bounds of one body.
pub(crate) struct Bounds<'a> {
    /// Its size.
    pub(crate) limit: usize,
    /// The time in which it must come.
    pub(crate) deadline: Duration,
    /// The time that it may wait for room, all in all.
    pub(crate) room_wait: Duration,
    /// What it draws on beyond [`SMALL_BYTES`].
    pub(crate) budgets: &'a Budgets,
    /// Where it comes in.
    pub(crate) door: &'a Door,
}

/// Reads the whole body. `admit` is asked once, before anything beyond [`SMALL_BYTES`] is taken.
pub(crate) async fn take<B>(
    body: &mut B,
    bounds: &Bounds<'_>,
    admit: impl FnOnce() -> Result<(), wire::Error>,
) -> Result<Taken, NoBody>
where
    B: Body<Data = Bytes> + Unpin,
{
    let limit = bounds.limit;
    let announced = body.size_hint().exact().map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    if announced.is_some_and(|announced| announced > limit) {
        return Err(NoBody::TooLarge { limit });
    }
    let mut admit = Some(admit);
    let mut admit_once = || admit.take().map_or(Ok(()), |admit| admit().map_err(NoBody::Refused));
    if announced.is_some_and(|announced| announced > SMALL_BYTES) {
        admit_once()?;
    }
    let reading = async {
        let mut share = Share { permits: Vec::new(), patience: bounds.room_wait };
        let mut room = SMALL_BYTES;
        let mut parts = BytesMut::new();
        let mut first: Option<Bytes> = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| NoBody::Broken)?.into_data() else { continue };
            let size = parts.len() + first.as_ref().map_or(0, Bytes::len) + data.len();
            if size > limit {
                return Err(NoBody::TooLarge { limit });
            }
            if size > room {
                admit_once()?;
                let wanted = next_room(room, announced.unwrap_or(limit)).max(size);
                share.grow(bounds, wanted - room).await?;
                room = wanted;
            }
            let space = room.min(announced.unwrap_or(room));
            // Most bodies come in one piece, which is then handed on as it is.
            match first.take() {
                None if parts.is_empty() => first = Some(data),
                None => append(&mut parts, &data, space),
                Some(piece) => {
                    append(&mut parts, &piece, space);
                    append(&mut parts, &data, space);
                }
            }
        }
        Ok(Taken { bytes: first.unwrap_or_else(|| parts.freeze()), _share: share.permits })
    };
    tokio::time::timeout(bounds.deadline, reading).await.unwrap_or(Err(NoBody::TooSlow))
}

/// Twice what is there, so that a large body asks a few times and an idle one holds little; towards the end all of it, so that
/// large bodies seldom wait for each other's last pieces.
fn next_room(room: usize, whole: usize) -> usize {
    if whole / 4 <= room { whole } else { 2 * room }
}

/// Grows to the space that the body has, so that what is allocated is what was counted.
fn append(parts: &mut BytesMut, data: &Bytes, space: usize) {
    if parts.capacity() - parts.len() < data.len() {
        parts.reserve(space.saturating_sub(parts.len()).max(data.len()));
    }
    parts.extend_from_slice(data);
}

/// Reads and throws away what still comes, while the answer is under way already.
pub(crate) fn discard(mut body: Incoming) {
    tokio::spawn(tokio::time::timeout(DISCARD_TIMEOUT, async move {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > DISCARD_BYTES_MAX {
                return;
            }
        }
    }));
}

const _: () = assert!(SMALL_BYTES <= model::limits::REQUEST_BODY_BYTES_MAX);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::{Frame, SizeHint};
    use model::ids::AccountId;
    use model::names::{FunctionName, Region};
    use tokio::sync::mpsc;

    use super::*;
    use crate::door::Trust;

    const KIB: usize = 1024;

    /// A body that comes when the test sends it.
    struct Coming {
        announced: Option<u64>,
        pieces: mpsc::UnboundedReceiver<Bytes>,
    }

    impl Body for Coming {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.pieces.poll_recv(cx).map(|piece| Some(Ok(Frame::data(piece?))))
        }

        fn size_hint(&self) -> SizeHint {
            self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn coming(announced: Option<u64>, pieces: &[usize]) -> (mpsc::UnboundedSender<Bytes>, Coming) {
        let (sender, receiver) = mpsc::unbounded_channel();
        for size in pieces {
            sender.send(vec![b'x'; *size].into()).expect("it is received");
        }
        (sender, Coming { announced, pieces: receiver })
    }

    fn guest(name: &str) -> Door {
        let region = Region::parse("us-east-1").expect("a region");
        let name = FunctionName::parse(name).expect("a name");
        Door::Guest(FunctionId { account: AccountId::DEFAULT, region, name })
    }

    async fn take_in(budgets: &Budgets, door: &Door, mut body: Coming, admitted: bool) -> Result<Taken, NoBody> {
        let bounds = Bounds {
            limit: 1024 * KIB,
            deadline: Duration::from_millis(500),
            room_wait: Duration::from_millis(50),
            budgets,
            door,
        };
        let refusal = wire::Error::access_denied("no");
        take(&mut body, &bounds, || if admitted { Ok(()) } else { Err(refusal) }).await
    }

    /// A body of these pieces, to its end; `expected` is its size or why there is none.
    async fn check(
        budgets: &Budgets,
        door: &Door,
        announced: Option<u64>,
        pieces: &[usize],
        expected: Result<usize, NoBody>,
    ) {
        let (sender, body) = coming(announced, pieces);
        drop(sender);
        let taken = take_in(budgets, door, body, true).await.map(|taken| taken.bytes.len());
        assert_eq!(taken, expected, "{announced:?} {pieces:?}");
    }

    const HOST: Door = Door::Host(Trust::Verify);

    #[tokio::test]
    async fn a_body_is_taken_whole_and_its_share_given_back() {
        let budgets = Budgets::new(1024 * KIB, 1024 * KIB, 1024 * KIB);
        for door in [HOST, guest("f")] {
            for _ in 0..20 {
                check(&budgets, &door, Some(0), &[], Ok(0)).await;
                check(&budgets, &door, Some(1_000_000), &[400_000, 600_000], Ok(1_000_000)).await;
                check(&budgets, &door, None, &[10, 20, 30 * KIB, 500 * KIB], Ok(530 * KIB + 30)).await;
                check(&budgets, &door, Some(1024 * KIB as u64), &[1024 * KIB], Ok(1024 * KIB)).await;
            }
        }
        let whole = u32::try_from(1024 * KIB / UNIT_BYTES).expect("a few units");
        assert!(budgets.host.try_acquire_many(whole).is_ok() && budgets.guests.try_acquire_many(whole).is_ok());
        assert!(budgets.functions.lock().expect("nobody panics").values().all(|own| own.strong_count() == 0));
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused_before_it_comes() {
        let budgets = Budgets::new(0, 0, 0);
        let limit = 1024 * KIB;
        let (_sender, body) = coming(Some(99_999_999_999_999), &[]);
        assert_eq!(take_in(&budgets, &HOST, body, true).await.err(), Some(NoBody::TooLarge { limit }));
        let budgets = Budgets::new(2048 * KIB, 0, 0);
        check(&budgets, &HOST, None, &[limit, 1], Err(NoBody::TooLarge { limit })).await;
    }

    #[tokio::test]
    async fn what_is_announced_and_does_not_come_holds_nothing() {
        let budgets = Budgets::new(1024 * KIB, 0, 0);
        let mut idle = Vec::new();
        let mut senders = Vec::new();
        for _ in 0..8 {
            let (sender, body) = coming(Some(1024 * KIB as u64), &[10 * KIB]);
            senders.push(sender);
            idle.push(take_in(&budgets, &HOST, body, true));
        }
        let busy = async {
            tokio::task::yield_now().await;
            check(&budgets, &HOST, Some(1024 * KIB as u64), &[1024 * KIB], Ok(1024 * KIB)).await;
        };
        let mut idle = idle.into_iter();
        let (first, ()) = tokio::join!(idle.next().expect("eight"), busy);
        assert_eq!(first.err(), Some(NoBody::TooSlow));
    }

    #[tokio::test]
    async fn who_may_not_is_refused_before_a_large_body_comes() {
        let budgets = Budgets::new(1024 * KIB, 0, 0);
        let refused = Some(NoBody::Refused(wire::Error::access_denied("no")));
        let (_sender, body) = coming(Some(65 * KIB as u64), &[]);
        assert_eq!(take_in(&budgets, &HOST, body, false).await.err(), refused, "announced");
        let (_sender, body) = coming(None, &[40 * KIB, 40 * KIB]);
        assert_eq!(take_in(&budgets, &HOST, body, false).await.err(), refused, "in chunks");
        let (sender, body) = coming(Some(10), &[10]);
        drop(sender);
        assert!(take_in(&budgets, &HOST, body, false).await.is_ok(), "a small one is judged with its body");
    }

    #[tokio::test]
    async fn without_room_a_large_body_waits_a_little_and_a_small_one_not_at_all() {
        let budgets = Budgets::new(256 * KIB, 0, 0);
        let (_sender, body) = coming(None, &[200 * KIB]);
        let (_other, another) = coming(None, &[200 * KIB]);
        let small = async {
            tokio::task::yield_now().await;
            check(&budgets, &HOST, None, &[30 * KIB, 34 * KIB], Ok(64 * KIB)).await;
        };
        let (one, other, ()) =
            tokio::join!(take_in(&budgets, &HOST, body, true), take_in(&budgets, &HOST, another, true), small);
        assert_eq!((one.err(), other.err()), (Some(NoBody::TooSlow), Some(NoBody::NoRoom)));
        check(&budgets, &HOST, None, &[200 * KIB], Ok(200 * KIB)).await;
    }

    #[tokio::test]
    async fn guests_have_a_budget_of_their_own_and_each_function_a_part_of_it() {
        let budgets = Budgets::new(1024 * KIB, 512 * KIB, 256 * KIB);
        let (evil, good) = (guest("evil"), guest("good"));
        let (_sender, body) = coming(None, &[300 * KIB]);
        let others = async {
            tokio::task::yield_now().await;
            check(&budgets, &evil, None, &[200 * KIB], Err(NoBody::NoRoom)).await;
            check(&budgets, &good, None, &[300 * KIB], Ok(300 * KIB)).await;
            check(&budgets, &HOST, None, &[900 * KIB], Ok(900 * KIB)).await;
        };
        let (held, ()) = tokio::join!(take_in(&budgets, &evil, body, true), others);
        assert_eq!(held.err(), Some(NoBody::TooSlow));
    }
}
