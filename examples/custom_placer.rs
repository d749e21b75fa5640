//! A strategy of one's own: the runner that was chosen longest ago.
//!
//! ```console
//! $ cargo run --example custom_placer
//! ```
//!
//! A placer only decides: no I/O, no clock, no task. All it may know is what it is asked, what it is told, and the view of the runners. It belongs
//! to one placing loop, so that what it remembers needs no lock. In a balancer it is given to `Placement::with_placer`; here the simulator
//! drives the same loop with it.

use std::time::Duration;

use runpool::placement::{Decision, LoopRules, Moment, Placer, PlacerSettings, PlacingLoop, Question, Reason, WaitLimits};
use runpool::sim::{Contender, ModelCall, ModelFunction, Rule, Setup, Source, Workload, run};

/// Goes round the runners: who was chosen longest ago comes first.
#[derive(Debug, Default)]
struct LeastRecent {
    /// When the runner in each place was chosen last.
    chosen: Vec<Moment>,
}

impl Placer for LeastRecent {
    fn name(&self) -> &'static str {
        "least-recent"
    }

    fn place(&mut self, question: Question<'_>) -> Decision {
        self.chosen.resize(question.view.places() as usize, Moment::ZERO);
        let free = question.view.open_from(0).filter(|runner| question.can_take(*runner));
        match free.min_by_key(|runner| self.chosen[runner.index()]) {
            Some(runner) => {
                self.chosen[runner.index()] = question.now;
                Decision::Try(runner, Reason::Next)
            }
            // Nobody has room: the call waits, and gets what comes free in turn.
            None => Decision::Park,
        }
    }
}

fn main() -> anyhow::Result<()> {
    // A call every 1 ms, 50 ms each: 50 of 64 slots are busy on average.
    let call = |number: u64| ModelCall { at: number * 1_000_000, function: 0, service_ns: 50_000_000 };
    let workload = Workload::new([ModelFunction::free("resize")], (0..20_000).map(call).collect());
    let setup = Setup { warm_up: Duration::ZERO, ..Setup::default() };
    let rules = LoopRules {
        retry_all_delay: Duration::from_millis(10),
        waiting: WaitLimits { calls: 10_000, bytes: 0 },
        placers: PlacerSettings::default(),
    };
    let custom: Box<dyn Rule> = Box::new(PlacingLoop::new(rules.clone(), 1).with_placer(Box::new(LeastRecent::default())));
    let naive: Contender = "naive".parse()?;
    println!("{:<14} {:>9} {:>18} {:>12}", "placer", "answered", "attempts per call", "p99 ms");
    for (name, rule) in [("least-recent", vec![custom]), ("naive", naive.rules(1, &rules, 1))] {
        let source = Source::Open { workload: workload.clone(), time_factor: 1.0, until: Duration::from_secs(60) };
        let setup = Setup { placer: runpool::placement::PlacerChoice::Naive, ..setup.clone() };
        let figures = run(&setup, &source, rule, 1).figures();
        println!("{name:<14} {:>9} {:>18.3} {:>12.3}", figures.answered, figures.attempts, figures.p99);
    }
    Ok(())
}
