//! The process is killed at every step of the queue, on a real disk, in a loop.

use std::collections::HashSet;
use std::process::{Child, Stdio};

use hedef_edge::steps::Step;

use crate::device::{Device, Home};
use crate::hub::Hub;
use crate::module::start_on;
use crate::wait::until;

/// What may be under way when the process is killed: answers that were sent and not acknowledged, one whose message was not
/// noted as done, and an input that was not acknowledged.
const UNDER_WAY: usize = 20;

struct Rig {
    home: Home,
    hub: Hub,
    /// The number of the next input.
    next: usize,
}

impl Rig {
    fn new() -> Self {
        let home = Home::new("");
        let hub = Hub::start(home.path());
        // One at a time, so that answers come in the order of the inputs.
        let settings = "[queue]\ncapacity_mib = 1\nparallel = 1\n";
        home.write(&format!("[module]\nport = {}\n{settings}", hub.port));
        Self { home, hub, next: 0 }
    }

    /// Starts a process that ends at a step.
    fn start_ending_at(&self, step: &str) -> Child {
        let mut command = self.home.command();
        command.envs(Hub::variables(self.home.path())).env("HEDEF_EDGE_END_AT", step);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Lets a process have inputs until it has ended.
    fn feed(&mut self, step: &str, mut child: Child) {
        let status = until(&format!("the process ends at {step}"), || {
            let ended = child.try_wait().unwrap();
            if ended.is_none() && self.hub.waiting() < 40 {
                self.send(20);
            }
            ended
        });
        assert!(!status.success(), "at {step}: {status}");
    }

    /// A device that goes on to its end.
    fn start(&self) -> Device {
        self.home.start_with(&Hub::variables(self.home.path()))
    }

    /// Inputs whose answers are long enough to fill a file of the queue with a few dozens.
    fn send(&mut self, count: usize) {
        for _ in 0..count {
            let rows = ["[5.1, 3.5, 1.4, 0.2]"; 10].join(", ");
            self.hub.input(&format!("m{}", self.next), format!(r#"{{"data": [{rows}]}}"#));
            self.next += 1;
        }
    }

    /// The numbers of the inputs that were answered, in the order of the answers. One that was under way at three ends in a row
    /// may be answered with an error, as if it were their cause.
    fn answered(&self) -> Vec<usize> {
        let sent = self.hub.sent();
        sent.iter().map(|sent| sent.property("$.cid").unwrap().strip_prefix('m').unwrap().parse().unwrap()).collect()
    }

    fn until_last_is_answered(&self) {
        let last = format!("m{}", self.next - 1);
        until("the last is answered", || {
            self.hub.sent().iter().any(|sent| sent.property("$.cid") == Some(&last)).then_some(())
        });
    }
}

fn without_repeats(numbers: &[usize]) -> Vec<usize> {
    let mut known = HashSet::new();
    numbers.iter().copied().filter(|number| known.insert(*number)).collect()
}

/// The times at which a step is made that the process ends at.
fn times(step: Step) -> &'static [u32] {
    match step {
        // A file is full after some dozens of messages.
        Step::QueueFileMade | Step::QueueFileBegun | Step::QueueFileRemoved => &[1, 2, 3],
        // Once a second.
        Step::QueueFileSafe | Step::QueueAllSafe => &[3, 4],
        // Inputs, answers, and notes of what is done take turns.
        _ => &[40, 41, 42, 43, 154],
    }
}

/// Whatever was acknowledged is answered, in its order, and again at most what was under way.
#[test]
fn what_was_acknowledged_survives_the_end_of_the_process_at_every_step_of_the_queue() {
    let mut rig = Rig::new();
    // The first files, which the first message makes.
    let device = rig.start();
    rig.send(20);
    rig.until_last_is_answered();
    device.kill();
    let mut kills = 1;
    for step in Step::QUEUE {
        let half = Step::QueueHalfWritten.name();
        match step {
            // Only a full queue makes it.
            Step::QueueOldestRemoved => continue,
            // Only after an end within the writing of something.
            Step::QueueEndCutOff => {
                let child = rig.start_ending_at(&format!("{half}@40"));
                rig.feed(half, child);
                let child = rig.start_ending_at(step.name());
                rig.feed(step.name(), child);
                kills += 2;
            }
            _ => {
                for time in times(step) {
                    let end = format!("{}@{time}", step.name());
                    let child = rig.start_ending_at(&end);
                    rig.feed(&end, child);
                    kills += 1;
                }
            }
        }
    }
    rig.send(20);
    let device = rig.start();
    rig.until_last_is_answered();
    let answered = rig.answered();
    let first = without_repeats(&answered);
    assert!(first.iter().copied().eq(0..rig.next), "{first:?}");
    let again = answered.len() - first.len();
    assert!(again <= kills * UNDER_WAY, "{again} came again in {kills} ends");
    let (status, log) = device.stop();
    assert!(status.success() && !log.contains("damaged"), "{status}: {log}");
}

/// What gives way is the oldest, also when the process is killed just then.
#[test]
fn what_is_left_of_a_full_queue_is_the_newest_when_the_process_is_killed_as_it_makes_room() {
    let mut rig = Rig::new();
    rig.hub.take_no_answers(true);
    for time in 1..=4 {
        let end = format!("{}@{time}", Step::QueueOldestRemoved.name());
        let child = rig.start_ending_at(&end);
        rig.feed(&end, child);
    }
    let device = start_again(&rig);
    until("all are taken in", || (rig.hub.waiting() == 0).then_some(()));
    rig.hub.take_no_answers(false);
    rig.hub.cut();
    rig.until_last_is_answered();
    let found = without_repeats(&rig.answered());
    let first = found[0];
    assert!(found.iter().copied().eq(first..rig.next), "{found:?}");
    // Of a mebibyte a sixteenth is for notes, a quarter for inputs, and at each end a file of a thirty-second went.
    assert!(first > 0 && found.len() > 200, "{} of {}", found.len(), rig.next);
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}

fn start_again(rig: &Rig) -> Device {
    start_on(&rig.hub, rig.home.path(), &rig.home, "[queue]\ncapacity_mib = 1\nparallel = 1\n")
}
