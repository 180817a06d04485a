import Glibc

/// Maps values to positions along one side of a plot.
struct PlotScale: Sendable {
    let range: ClosedRange<Double>
    let isLogarithmic: Bool

    /// From 0 to a little above the highest value.
    static func linear(to highest: Double) -> PlotScale {
        PlotScale(range: 0...max(highest, 1e-9) * 1.05, isLogarithmic: false)
    }

    static func linear(_ range: ClosedRange<Double>) -> PlotScale {
        PlotScale(range: range.lowerBound...max(range.upperBound, range.lowerBound + 1e-9), isLogarithmic: false)
    }

    /// From the power of ten below the lowest value to the one above the highest; values are more than 0.
    static func logarithmic(_ range: ClosedRange<Double>) -> PlotScale {
        let low = pow(10, log10(range.lowerBound).rounded(.down))
        let high = pow(10, log10(range.upperBound).rounded(.up))
        return PlotScale(range: low...max(high, low * 10), isLogarithmic: true)
    }

    /// The position of a value: 0 at the start of the range, 1 at its end, clamped.
    func place(_ value: Double) -> Double {
        let held = min(max(value, range.lowerBound), range.upperBound)
        guard isLogarithmic else { return (held - range.lowerBound) / (range.upperBound - range.lowerBound) }
        return log(held / range.lowerBound) / log(range.upperBound / range.lowerBound)
    }

    /// Round values for the axis, at most about `count`.
    func ticks(_ count: Int) -> [Double] {
        guard !isLogarithmic else {
            let decades = Int(log10(range.upperBound / range.lowerBound).rounded())
            return (0...decades).map { range.lowerBound * pow(10, Double($0)) }
        }
        let span = range.upperBound - range.lowerBound
        let rough = span / Double(max(1, count))
        let magnitude = pow(10, log10(rough).rounded(.down))
        let step = [1, 2, 5, 10].map { $0 * magnitude }.first { $0 >= rough } ?? rough
        let first = (range.lowerBound / step).rounded(.up)
        return (0...count + 1).map { (first + Double($0)) * step }.filter { $0 <= range.upperBound }
    }
}
