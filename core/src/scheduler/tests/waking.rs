//! Which instance goes to work, with threads that do nothing but wait.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::fake::{Call, metrics, parts};
use crate::model::Tuning;
use crate::scheduler::Shared;
use crate::scheduler::queue::Waited;

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// Who of the waiting instances goes to work when one request comes, which leaves then.
fn called(shared: &Arc<Shared>, found: &mpsc::Receiver<(usize, Waited)>) -> usize {
    let (ticket, _answer) = shared.enqueue(Call::plain(1).request()).unwrap();
    let (instance, waited) = found.recv().unwrap();
    assert_eq!(waited, Waited::Work);
    drop(ticket);
    instance
}

#[test]
fn who_fell_asleep_last_is_woken_first_and_at_the_end_all_are() {
    let shared = Arc::new(parts(1, 1, 100, Tuning::default()).share(None, &metrics()));
    let (tell, found) = mpsc::channel();
    thread::scope(|scope| {
        let start = |instance, asleep| {
            let (queue, tell) = (&shared.queue, tell.clone());
            // Some wait until something comes, and some until it was quiet for so long.
            let patience = (instance % 2 == 0).then_some(HOUR);
            scope.spawn(move || tell.send((instance, queue.wait(patience))));
            while queue.asleep() < asleep {
                thread::yield_now();
            }
        };
        (0..4).for_each(|instance| start(instance, instance + 1));
        assert_eq!([(); 2].map(|()| called(&shared, &found)), [3, 2]);
        start(4, 3);
        assert_eq!([(); 2].map(|()| called(&shared, &found)), [4, 1]);
        start(5, 2);
        shared.queue.close();
        let mut last = [found.recv().unwrap(), found.recv().unwrap()];
        last.sort_by_key(|(instance, _)| *instance);
        assert_eq!(last, [(0, Waited::Closed), (5, Waited::Closed)]);
    });
}
