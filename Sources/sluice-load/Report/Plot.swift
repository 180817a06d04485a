import SluiceTerminal

/// One plot as inline SVG: axes, lines, stacked areas and bars, and marks of events. Colours are classes of the page's
/// style, so one drawing works for light and dark.
struct Plot {
    struct Series {
        let name: String
        /// Class of the page's style.
        let style: String
    }

    static let width = 560.0
    static let height = 296.0
    private static let left = 62.0
    private static let right = 26.0
    private static let top = 40.0
    private static let bottom = 46.0

    let x: PlotScale
    let y: PlotScale
    private var shapes: [String] = []
    private var axes: [String] = []
    private var overlays: [String] = []

    init(x: PlotScale, y: PlotScale) {
        self.x = x
        self.y = y
    }

    // MARK: - Axes

    mutating func labelX(_ title: String, _ ticks: [(value: Double, text: String)]) {
        for tick in ticks {
            let place = Self.number(placeX(tick.value))
            axes.append(
                "<line class='grid' x1='\(place)' x2='\(place)' y1='\(Self.top)' y2='\(Self.height - Self.bottom)'/>"
                    + "<text x='\(place)' y='\(Self.height - Self.bottom + 18)' text-anchor='middle'>\(HTML.escape(tick.text))</text>"
            )
        }
        axes.append(
            "<text class='title' x='\(Self.width - Self.right)' y='\(Self.height - 5)' text-anchor='end'>\(HTML.escape(title))</text>"
        )
    }

    mutating func labelY(_ title: String, _ ticks: [(value: Double, text: String)]) {
        for tick in ticks {
            let place = placeY(tick.value)
            axes.append(
                "<line class='grid' x1='\(Self.left)' x2='\(Self.width - Self.right)' y1='\(Self.number(place))' y2='\(Self.number(place))'/>"
                    + "<text x='\(Self.left - 6)' y='\(Self.number(place + 4))' text-anchor='end'>\(HTML.escape(tick.text))</text>"
            )
        }
        axes.append("<text class='title' x='4' y='14'>\(HTML.escape(title))</text>")
    }

    // MARK: - Shapes

    mutating func line(_ points: [(x: Double, y: Double)], _ series: Series) {
        guard points.count > 1 else { return dots(points, series) }
        let path = points.map { "\(Self.number(placeX($0.x))),\(Self.number(placeY($0.y)))" }.joined(separator: " ")
        shapes.append("<polyline class='line \(series.style)' points='\(path)'/>")
    }

    mutating func dots(_ points: [(x: Double, y: Double)], _ series: Series) {
        shapes += points.map {
            "<circle class='dot \(series.style)' cx='\(Self.number(placeX($0.x)))' cy='\(Self.number(placeY($0.y)))' r='3'/>"
        }
    }

    /// Draws steps from one set of heights to the other: one part of a stack.
    mutating func area(_ stretches: [(x: ClosedRange<Double>, y: ClosedRange<Double>)], _ series: Series) {
        guard stretches.contains(where: { $0.y.upperBound > $0.y.lowerBound }) else { return }
        let upper = stretches.flatMap { [($0.x.lowerBound, $0.y.upperBound), ($0.x.upperBound, $0.y.upperBound)] }
        let lower = stretches.reversed().flatMap {
            [($0.x.upperBound, $0.y.lowerBound), ($0.x.lowerBound, $0.y.lowerBound)]
        }
        let path = (upper + lower).map { "\(Self.number(placeX($0.0))),\(Self.number(placeY($0.1)))" }
        shapes.append("<polygon class='area \(series.style)' points='\(path.joined(separator: " "))'/>")
    }

    /// - Parameter hint: shown when the pointer rests on it.
    mutating func bar(x range: ClosedRange<Double>, y heights: ClosedRange<Double>, _ series: Series, hint: String) {
        guard heights.upperBound > heights.lowerBound else { return }
        let from = placeX(range.lowerBound)
        let width = max(1, placeX(range.upperBound) - from - 1)
        let top = placeY(heights.upperBound)
        shapes.append(
            "<rect class='area \(series.style)' x='\(Self.number(from))' y='\(Self.number(top))' width='\(Self.number(width))' "
                + "height='\(Self.number(placeY(heights.lowerBound) - top))'><title>\(HTML.escape(hint))</title></rect>"
        )
    }

    /// A level across a range, or across all of the plot.
    mutating func level(_ value: Double, x range: ClosedRange<Double>? = nil, _ series: Series, text: String = "") {
        let range = range ?? x.range
        let place = placeY(value)
        overlays.append(
            "<line class='level \(series.style)' x1='\(Self.number(placeX(range.lowerBound)))' x2='\(Self.number(placeX(range.upperBound)))' "
                + "y1='\(Self.number(place))' y2='\(Self.number(place))'/>")
        guard !text.isEmpty else { return }
        overlays.append(
            "<text class='halo' x='\(Self.width - Self.right - 4)' y='\(Self.number(place - 4))' text-anchor='end'>\(HTML.escape(text))</text>"
        )
    }

    /// An event at a time, as a number that a list beside the plot explains.
    mutating func mark(_ value: Double, _ label: String, hint: String) {
        let place = Self.number(placeX(value))
        overlays.append(
            "<g class='mark'><title>\(HTML.escape(hint))</title><line x1='\(place)' x2='\(place)' y1='\(Self.top)' "
                + "y2='\(Self.height - Self.bottom)'/><circle cx='\(place)' cy='\(Self.top - 9)' r='8'/>"
                + "<text x='\(place)' y='\(Self.top - 5)' text-anchor='middle'>\(HTML.escape(label))</text></g>")
    }

    // MARK: - The whole

    /// - Parameter description: the text for readers who cannot see it.
    func svg(description: String) -> String {
        "<svg viewBox='0 0 \(Int(Self.width)) \(Int(Self.height))' role='img' aria-label='\(HTML.escape(description))'>"
            + (axes + shapes + overlays).joined(separator: "\n") + "</svg>"
    }

    private func placeX(_ value: Double) -> Double {
        Self.left + x.place(value) * (Self.width - Self.left - Self.right)
    }
    private func placeY(_ value: Double) -> Double {
        Self.height - Self.bottom - y.place(value) * (Self.height - Self.top - Self.bottom)
    }

    /// A tenth of a pixel is precise enough.
    private static func number(_ value: Double) -> String { Format.decimal(value, places: 1) }
}
