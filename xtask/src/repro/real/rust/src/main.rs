//! Counts words into a hash map, whose order is drawn when the program begins.

use std::collections::HashMap;

fn main() {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in include_str!("main.rs").split_whitespace() {
        *counts.entry(word).or_default() += 1;
    }
    println!("{counts:?} in {}", file!());
}
