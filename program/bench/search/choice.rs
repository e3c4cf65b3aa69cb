//! Which load comes next: exponential expansion outwards, then bisection.

use super::evidence::{Bounds, Evidence};
use super::goal::SearchGoal;

/// The loads that may be offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub bottom: f64,
    pub top: f64,
}

/// The widest step of an expansion: it doubles or halves the load.
const STEP_MAX: f64 = 0.5;

/// How far the next step outwards goes, as a part of the larger load. It doubles each time it is
/// used, so a bound that is far off is found in few steps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step(f64);

impl Step {
    pub fn starting_at(width: f64) -> Step {
        Step(width.min(STEP_MAX))
    }

    fn up_from(self, load: f64) -> f64 {
        load / (1.0 - self.0)
    }

    fn down_from(self, load: f64) -> f64 {
        load * (1.0 - self.0)
    }

    /// Goes no less far than this next.
    pub fn widen_to(&mut self, width: f64) {
        self.0 = self.0.max(width.min(STEP_MAX));
    }

    fn grow(&mut self) {
        self.0 = (2.0 * self.0).min(STEP_MAX);
    }
}

/// The next load to look at for `goal`; `None` if its bounds are narrow enough, or if nothing
/// that may be offered could move them.
///
/// The load lies strictly between the bounds.
pub(super) fn next_load(
    goal: &SearchGoal,
    bounds: Bounds,
    evidence: &Evidence,
    range: Range,
    step: &mut Step,
    hint: Option<f64>,
) -> Option<f64> {
    if bounds.is_narrow(goal) {
        return None;
    }
    let inside = |load: f64| {
        bounds.lower.is_none_or(|lower| load > lower)
            && bounds.upper.is_none_or(|upper| load < upper)
    };
    let hinted = hint.map(|hint| hint.clamp(range.bottom, range.top)).filter(|&hint| inside(hint));
    let target = hinted.unwrap_or_else(|| outwards(bounds, range, step));
    let target = target.clamp(range.bottom, range.top);
    if !inside(target) {
        return None;
    }
    let near = measured_nearby(bounds, evidence, target);
    Some(near.filter(|&load| load >= range.bottom && load <= range.top).unwrap_or(target))
}

fn outwards(bounds: Bounds, range: Range, step: &mut Step) -> f64 {
    let target = match (bounds.lower, bounds.upper) {
        (Some(lower), Some(upper)) => {
            // By ratio, as widths are ratios; never further than the expansion would go.
            let middle = (lower * upper).sqrt();
            middle.min(step.up_from(lower))
        }
        (Some(lower), None) => step.up_from(lower),
        (None, Some(upper)) => step.down_from(upper),
        (None, None) => range.top,
    };
    step.grow();
    target
}

/// A measured load that serves as well as `target`: within a quarter of the interval of it.
fn measured_nearby(bounds: Bounds, evidence: &Evidence, target: f64) -> Option<f64> {
    let above = bounds.lower.map_or(target, |lower| lower * (target / lower).sqrt());
    let below = bounds.upper.map_or(target, |upper| upper * (target / upper).sqrt());
    evidence.nearest_measured(above, below, target)
}
