import SluiceTerminal

/// Numbers for people.
enum Format {
    /// With a comma every three digits.
    static func count(_ value: Int64) -> String {
        var text = ""
        for (index, digit) in String(value.magnitude).reversed().enumerated() {
            if index > 0 && index % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return (value < 0 ? "-" : "") + String(text.reversed())
    }

    /// Three significant digits or more, in the unit that fits.
    static func time(_ ns: UInt64) -> String {
        switch ns {
        case 0: "-"
        case ..<1_000_000: "\(decimal(Double(ns) / 1e3, places: ns < 100_000 ? 1 : 0)) us"
        case ..<1_000_000_000: "\(decimal(Double(ns) / 1e6, places: ns < 100_000_000 ? 2 : 1)) ms"
        default: "\(decimal(Double(ns) / 1e9, places: 2)) s"
        }
    }

    /// With so many digits after the point.
    static func decimal(_ value: Double, places: Int) -> String {
        let scale = (0..<places).reduce(Int64(1)) { product, _ in product * 10 }
        let scaled = Int64((value * Double(scale)).rounded())
        let whole = "\(scaled < 0 ? "-" : "")\(scaled.magnitude / UInt64(scale))"
        guard places > 0 else { return whole }
        let fraction = String(scaled.magnitude % UInt64(scale))
        return "\(whole).\(String(repeating: "0", count: places - fraction.count))\(fraction)"
    }

    /// A time by Redis's clock, as UTC to the millisecond.
    static func date(ms: Int64) -> String {
        let ms = max(0, ms)
        let text = DateText.format(milliseconds: ms)
        return ms % 1000 == 0 ? text : "\(text.dropLast()).\(String(1000 + ms % 1000).dropFirst())Z"
    }
}
