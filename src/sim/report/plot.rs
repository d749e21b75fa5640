//! One plot as SVG: a curve for each placer, with the interval at each point. Drawn by package `plotters`.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

/// A plot.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) scale: Scale,
    pub(super) curves: Vec<Curve>,
}

/// The y axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Logarithmic,
}

/// What belongs to one placer.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) half_width: f64,
}

const SIZE: (u32, u32) = (740, 420);

/// Where the names of the curves begin, beside the plot: on it they would hide what they name.
const LEGEND_AT: u32 = 610;

/// Colours that people with any kind of colour vision tell apart (Okabe and Ito), then some more.
const COLOURS: [RGBColor; 12] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
    RGBColor(150, 110, 60),
    RGBColor(120, 80, 200),
    RGBColor(160, 160, 0),
    RGBColor(200, 30, 60),
    RGBColor(120, 160, 160),
];

impl Panel {
    /// The plot, if there is anything to plot.
    pub(super) fn svg(&self) -> Option<String> {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let (mut low, mut high) = bounds(points().map(|point| point.x))?;
        let margin = ((high - low) * 0.05).max(0.01);
        (low, high) = (low - margin, high + margin);
        let mut svg = String::new();
        let drawn = match self.scale {
            Scale::Linear => {
                let (_, top) = bounds(points().map(|point| point.y + point.half_width))?;
                self.draw(&mut svg, low..high, 0.0..(top * 1.05).max(0.01), 0.0)
            }
            Scale::Logarithmic => {
                let (bottom, _) = bounds(points().map(|point| point.y).filter(|y| *y > 0.0))?;
                let (_, top) = bounds(points().map(|point| point.y + point.half_width))?;
                let bottom = bottom * 0.7;
                self.draw(&mut svg, low..high, (bottom..(top * 1.4).max(bottom * 2.0)).log_scale(), bottom)
            }
        };
        drawn.ok().map(|()| svg)
    }

    /// Draws into a string. What lies below `bottom` is drawn on it: a logarithmic axis has no zero.
    fn draw<Y>(&self, svg: &mut String, x: std::ops::Range<f64>, y: Y, bottom: f64) -> Result<(), Box<dyn std::error::Error>>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (plot, legend) = root.split_horizontally(LEGEND_AT);
        let mut chart = ChartBuilder::on(&plot)
            .caption(self.title, ("sans-serif", 17))
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        chart.configure_mesh().x_desc("load").y_label_formatter(&number).light_line_style(WHITE).draw()?;
        for (index, curve) in self.curves.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let at = |point: &Point| (point.x, point.y.max(bottom));
            chart.draw_series(LineSeries::new(curve.points.iter().map(at), colour.stroke_width(2)))?;
            let y = 50 + 20 * i32::try_from(index)?;
            legend.draw(&PathElement::new([(4, y), (20, y)], colour.stroke_width(2)))?;
            legend.draw(&Text::new(curve.name.clone(), (26, y - 6), ("sans-serif", 13)))?;
            chart.draw_series(curve.points.iter().map(|point| {
                let low = (point.y - point.half_width).max(bottom);
                ErrorBar::new_vertical(point.x, low, point.y.max(bottom), point.y + point.half_width, colour.filled(), 7)
            }))?;
        }
        root.present()?;
        Ok(())
    }
}

fn number(value: &f64) -> String {
    if *value >= 10.0 || *value == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |bounds, value| {
        let (low, high) = bounds.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}
