//! What a Rust program sees of a clock that waits move.
use std::sync::{Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() {
    let (wall, begin) = (SystemTime::now(), Instant::now());
    println!("{:?}", wall.duration_since(UNIX_EPOCH).unwrap());
    let show = || println!("{:?} {:?}", wall.elapsed().unwrap(), begin.elapsed());
    let ms = Duration::from_millis;
    thread::sleep(ms(30));
    show();
    let (sender, receiver) = mpsc::channel::<u8>();
    println!("{:?}", receiver.recv_timeout(ms(40)));
    show();
    let pair = (Mutex::new(0), Condvar::new());
    let (_guard, ended) = pair.1.wait_timeout(pair.0.lock().unwrap(), ms(50)).unwrap();
    println!("{}", ended.timed_out());
    show();
    thread::park_timeout(ms(60));
    show();
    let slept = thread::spawn(move || {
        thread::sleep(ms(200));
        begin.elapsed()
    });
    println!("{:?}", slept.join().unwrap());
    drop(sender);
    let spin = Instant::now();
    while spin.elapsed() < Duration::from_secs(2) {}
    println!("spun");
}
