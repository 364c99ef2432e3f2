//! Times of several ways to do one thing, taken in turns.

use std::time::{Duration, Instant};

/// The median time of each of `ways`, each run `rounds` times in turns after one run that does not count.
///
/// What a way returns is dropped after its time was taken.
pub fn medians<const N: usize>(
    rounds: usize,
    mut ways: [&mut dyn FnMut() -> Box<dyn std::any::Any>; N],
) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (way, times) in ways.iter_mut().zip(&mut times) {
            let start = Instant::now();
            let result = way();
            let time = start.elapsed();
            drop(result);
            if round > 0 {
                times.push(time);
            }
        }
    }
    times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    })
}

/// Milliseconds with three digits after the point.
#[must_use]
pub fn ms(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}
