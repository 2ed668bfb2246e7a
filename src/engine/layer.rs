//! The layers of some graphs that have a choice of kernels, by class of shape.

use std::collections::HashSet;

use crate::graph::Graph;
use crate::kernels::{Choices, LowerError, Offer, ShapeClass, Target, lower};

/// A node with a choice of kernels: the first for its key.
pub(super) struct Layer<'a> {
    pub(super) graph: &'a Graph,
    pub(super) offer: Offer,
}

/// Layers of one class.
pub(super) struct LayerClass<'l, 'g> {
    pub(super) class: &'l ShapeClass,
    /// The one with the most operations, which is measured for all.
    pub(super) largest: &'l Layer<'g>,
    /// Operations of all.
    flops: u64,
}

/// The layers of some graphs whose kernels are not `given`.
///
/// # Errors
/// If a graph cannot be lowered.
pub(super) fn layers<'a>(
    graphs: &'a [Graph],
    target: &Target,
    given: &Choices,
) -> Result<Vec<Layer<'a>>, LowerError> {
    let mut layers: Vec<Layer<'a>> = Vec::new();
    let mut seen = HashSet::new();
    for graph in graphs {
        for offer in lower(graph, target, given)?.offers {
            if given.get(&offer.key).is_none() && seen.insert(offer.key.clone()) {
                layers.push(Layer { graph, offer });
            }
        }
    }
    Ok(layers)
}

/// The classes of some layers, those with the largest share of the operations first.
pub(super) fn classes<'l, 'g>(layers: &'l [Layer<'g>]) -> Vec<LayerClass<'l, 'g>> {
    let mut classes: Vec<LayerClass<'l, 'g>> = Vec::new();
    for layer in layers {
        let own = &layer.offer.class;
        match classes.iter_mut().find(|class| class.class == own) {
            Some(class) => {
                class.flops += layer.offer.flops;
                if layer.offer.flops > class.largest.offer.flops {
                    class.largest = layer;
                }
            }
            None => classes.push(LayerClass {
                class: own,
                largest: layer,
                flops: layer.offer.flops,
            }),
        }
    }
    classes.sort_by_key(|class| std::cmp::Reverse(class.flops));
    classes
}

/// Octaves up to which classes are near.
const NEAR: f64 = 1.0;

/// The choice for the class that is nearest to `own`, among those that are near and that `suits`
/// admits.
pub(super) fn nearest<'c>(
    own: &ShapeClass,
    chosen: &[(&ShapeClass, &'c str)],
    suits: impl Fn(&str) -> bool,
) -> Option<&'c str> {
    let comparable = chosen.iter().filter_map(|(class, name)| {
        let distance = own.distance(class)?;
        (distance <= NEAR && suits(name)).then_some((distance, *name))
    });
    let nearest = comparable.min_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ops::{Conv2d, Window};
    use crate::shape::Shape;

    /// Convolutions from and to so many channels.
    fn graph(channels: &[[usize; 2]]) -> Graph {
        let mut graph = Graph::new();
        let window = Window {
            stride: 1,
            padding: 1,
        };
        for (number, [i, o]) in channels.iter().enumerate() {
            let x = graph.external(&format!("x{number}"), Shape::channels(&[2, 8, 8, *i]));
            let shape = Shape::weights([3, 3, *i, *o]);
            let w = graph.external(&format!("w{number}"), shape);
            let y = graph.push_one(Conv2d::new(window), &[x, w], "y").unwrap();
            graph.output(y, &format!("y{number}"));
        }
        graph
    }

    #[test]
    fn the_class_with_most_work_is_first_and_measured_on_its_largest_layer() {
        let graphs = [
            graph(&[[3, 4], [29, 40], [30, 37], [29, 40]]),
            graph(&[[3, 4]]),
        ];
        let target = Target::portable();
        let all = layers(&graphs, &target, &Choices::default()).unwrap();
        assert_eq!(all.len(), 3);
        let found = classes(&all);
        let keys: Vec<String> = found.iter().map(|class| class.class.to_string()).collect();
        assert_eq!(keys, ["conv2d 3x3/1 32>40 @128", "conv2d 3x3/1 4>4 @128"]);
        assert_eq!(found[0].largest.offer.key, "conv2d 3x3/1 29>40 @8x8x2");
        let mut given = Choices::default();
        given.set("conv2d 3x3/1 3>4 @8x8x2".to_owned(), "direct");
        let rest = layers(&graphs, &target, &given).unwrap();
        assert_eq!(rest.len(), 2);
    }

    #[test]
    fn the_nearest_class_that_suits_is_found() {
        let graphs = [graph(&[[16, 16], [16, 32], [16, 64]])];
        let all = layers(&graphs, &Target::portable(), &Choices::default()).unwrap();
        let [a, b, c] = [0, 1, 2].map(|at| &all[at].offer.class);
        let chosen = [(a, "direct"), (c, "subgroup")];
        assert_eq!(nearest(a, &chosen, |_| true), Some("direct"));
        assert_eq!(nearest(c, &chosen, |_| true), Some("subgroup"));
        assert_eq!(
            nearest(b, &chosen, |name| name == "subgroup"),
            Some("subgroup")
        );
        assert_eq!(nearest(b, &[], |_| true), None);
        assert_eq!(nearest(c, &chosen[..1], |_| true), None);
    }
}
