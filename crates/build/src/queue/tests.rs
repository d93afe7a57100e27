//! The queue on graphs without a sandbox: order, failures, threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;

fn any_graph() -> impl Strategy<Value = Vec<Vec<usize>>> {
    proptest::collection::vec(proptest::collection::vec(any::<prop::sample::Index>(), 0..4), 0..40)
        .prop_map(|pieces| {
            let below = |(piece, needs): (usize, Vec<prop::sample::Index>)| match piece {
                0 => Vec::new(),
                _ => needs.iter().map(|need| need.index(piece)).collect(),
            };
            pieces.into_iter().enumerate().map(below).collect()
        })
}

fn heights(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut heights = vec![0; needs.len()];
    for piece in (0..needs.len()).rev() {
        for need in &needs[piece] {
            heights[*need] = heights[*need].max(heights[piece] + 1);
        }
    }
    heights
}

#[test]
fn the_heaviest_runs_first() {
    // 0 and 1 are ready; a chain of two stands on 1.
    let needs = [vec![], vec![], vec![1], vec![2]];
    let order = Mutex::new(Vec::new());
    let graph = Graph { needs: &needs, heights: &heights(&needs) };
    run::<_, ()>(&graph, Options { jobs: 1, keep_going: false }, |piece| {
        order.lock().expect("no panic").push(piece);
        Ok(())
    });
    assert_eq!(order.into_inner().expect("no panic"), [1, 2, 0, 3]);
}

proptest! {
    #[test]
    fn each_once_after_what_it_needs(needs in any_graph(), jobs in 1..6usize) {
        let finished: Vec<_> = needs.iter().map(|_| AtomicUsize::new(0)).collect();
        let graph = Graph { needs: &needs, heights: &heights(&needs) };
        let done = run(&graph, Options { jobs, keep_going: false }, |piece| {
            let early = needs[piece].iter().any(|need| finished[*need].load(Ordering::SeqCst) != 1);
            finished[piece].fetch_add(1, Ordering::SeqCst);
            if early { Err(piece) } else { Ok(piece) }
        });
        prop_assert!(done.iter().enumerate().all(|(piece, done)| *done == Done::Ok(piece)));
        prop_assert!(finished.iter().all(|f| f.load(Ordering::SeqCst) == 1));
    }

    #[test]
    fn what_needs_a_failure_is_skipped_and_the_rest_goes_on(
        needs in any_graph(),
        bad in any::<prop::sample::Index>(),
        jobs in 1..6usize,
    ) {
        if needs.is_empty() {
            return Ok(());
        }
        let bad = bad.index(needs.len());
        let graph = Graph { needs: &needs, heights: &heights(&needs) };
        let done = run(&graph, Options { jobs, keep_going: true }, |piece| if piece == bad { Err(()) } else { Ok(()) });
        let mut lost = vec![false; needs.len()];
        for piece in 0..needs.len() {
            lost[piece] = piece != bad && needs[piece].iter().any(|need| *need == bad || lost[*need]);
            let expected = if piece == bad { Done::Failed(()) } else if lost[piece] { Done::Skipped } else { Done::Ok(()) };
            prop_assert_eq!(&done[piece], &expected);
        }
    }
}
