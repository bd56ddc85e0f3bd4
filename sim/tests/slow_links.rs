//! Daemons of this build over slow links. The tests take a few seconds; for the figures in
//! docs/performance.md: `STATE=300000 RATE=8000 CUT=5` and `VALUE=1048576 LINK=250000`.

mod daemon;

use std::time::Duration;
use zabkeeper_sim::faults_real::{laggard, large_value};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn a_node_that_was_away_gets_what_it_lacks_over_a_slow_link_that_is_reset_again_and_again() {
    let Some(binary) = daemon::daemon() else { return };
    let (state, rate) = (number("STATE", 160_000), number("RATE", 40_000));
    let cut = Duration::from_secs(number("CUT", 1));
    let took = laggard(&binary, state, rate, cut).expect("it gets there");
    let wire = Duration::from_secs_f64(state as f64 / rate as f64);
    println!(
        "{state} bytes at {rate} a second, cut every {cut:?}: {took:.1?}, {wire:.1?} on the wire"
    );
    assert!(took < wire * 3, "{took:?} for what takes {wire:?} on the wire");
}

#[test]
fn a_large_value_on_slow_links_takes_its_time_and_changes_no_leader() {
    let Some(binary) = daemon::daemon() else { return };
    let (bytes, rate) = (number("VALUE", 1 << 20), number("LINK", 250_000));
    let (took, epochs) = large_value(&binary, bytes, rate).expect("it is written");
    println!("{bytes} bytes at {rate} a second: {took:.1?}, {epochs} changes of the leader");
    assert_eq!(epochs, 0);
}
