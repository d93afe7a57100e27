//! `reimage plan`: what would run, and why

use crate::build::with_steps;

const STEPS: &str = r#"    one | re.Run = { from = root, script = "echo 1 > /one" },
    two | re.Run = { from = one, script = "echo 2 > /two" },"#;

#[test]
fn before_a_build_and_after() {
    let env = with_steps(STEPS);
    let before = env.reimage(["plan", "steps.two"]).expect(0).out();
    let words: Vec<Vec<&str>> = before.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert!(words.contains(&vec!["steps.one", "run"]), "{before}");
    assert!(words.contains(&vec!["steps.two", "perhaps"]), "{before}");
    let _ = env.reimage(["build", "steps.two"]).expect(0);
    let after = env.reimage(["plan", "steps.two"]).expect(0).out();
    assert!(!after.contains(" run ") && !after.contains("perhaps"), "{after}");
    assert!(after.contains("its result is in the store"), "{after}");
}
