//! The example for embedding does what it says.

#[allow(dead_code, reason = "the test calls what main calls")]
#[path = "../examples/embedded.rs"]
mod embedded;

#[test]
fn an_ensemble_inside_one_program_serves_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(embedded::run(dir.path()).unwrap(), "hello, ensemble");
}
