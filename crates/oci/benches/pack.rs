//! Packing of layers.

fn main() {
    divan::main();
}
