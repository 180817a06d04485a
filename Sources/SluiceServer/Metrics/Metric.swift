import SluiceEngine

/// One metric with its samples, as Prometheus' text format 0.0.4 writes it.
struct Metric {
    enum Kind: String { case counter, gauge, histogram }
    typealias Labels = [(name: String, value: String)]

    struct Sample {
        var labels: Labels = []
        /// As it is written.
        var value: String
    }

    let name: String
    let kind: Kind
    let help: String
    /// None if there is nothing to tell yet: the metric is then left out.
    private let samples: [Sample]
    private let histograms: [(labels: Labels, histogram: Histogram)]
    /// Divides a histogram's values.
    private let unit: Double

    private init(
        _ kind: Kind, _ name: String, _ help: String, _ samples: [Sample] = [],
        _ histograms: [(labels: Labels, histogram: Histogram)] = [], unit: Double = 1
    ) {
        self.kind = kind
        self.name = name
        self.help = help
        self.samples = samples
        self.histograms = histograms
        self.unit = unit
    }

    static func counter(_ name: String, _ help: String, _ value: some BinaryInteger) -> Metric {
        Metric(.counter, name, help, [Sample(value: "\(value)")])
    }

    static func counter(_ name: String, _ help: String, _ samples: [Sample]) -> Metric {
        Metric(.counter, name, help, samples)
    }

    static func gauge(_ name: String, _ help: String, _ value: some BinaryInteger) -> Metric {
        Metric(.gauge, name, help, [Sample(value: "\(value)")])
    }

    static func gauge(_ name: String, _ help: String, _ isSo: Bool) -> Metric {
        Metric(.gauge, name, help, [Sample(value: isSo ? "1" : "0")])
    }

    static func gauge(_ name: String, _ help: String, _ samples: [Sample]) -> Metric {
        Metric(.gauge, name, help, samples)
    }

    /// - Parameter ms: milliseconds, shown in seconds.
    static func gauge(_ name: String, _ help: String, ms: Int64) -> Metric {
        Metric(.gauge, name, help, [Sample(value: "\(Double(ms) / 1000)")])
    }

    static func seconds(
        _ name: String, _ help: String, ns: [(labels: Labels, histogram: Histogram)]
    ) -> Metric {
        Metric(.histogram, name, help, [], ns, unit: 1_000_000_000)
    }

    static func sizes(_ name: String, _ help: String, _ histogram: Histogram) -> Metric {
        Metric(.histogram, name, help, [], [([], histogram)])
    }

    // MARK: - Text

    func write(to text: inout String) {
        guard !samples.isEmpty || !histograms.isEmpty else { return }
        text += "# HELP \(name) \(Self.escaped(help, quote: false))\n# TYPE \(name) \(kind.rawValue)\n"
        for sample in samples { write(name, sample.labels, sample.value, to: &text) }
        for (labels, histogram) in histograms {
            var below: Int64 = 0
            for (place, count) in histogram.counts.enumerated() {
                below += count
                let bound = place < histogram.bounds.count ? shown(histogram.bounds[place]) : "+Inf"
                write("\(name)_bucket", labels + [("le", bound)], "\(below)", to: &text)
            }
            write("\(name)_sum", labels, shown(histogram.sum), to: &text)
            write("\(name)_count", labels, "\(below)", to: &text)
        }
    }

    /// A histogram's value in its unit.
    private func shown(_ value: Int64) -> String {
        unit == 1 ? "\(value)" : "\(Double(value) / unit)"
    }

    private func write(_ name: String, _ labels: Labels, _ value: String, to text: inout String) {
        text += name
        if !labels.isEmpty {
            text += "{"
            for (index, label) in labels.enumerated() {
                if index > 0 { text += "," }
                text += "\(label.name)=\"\(Self.escaped(label.value, quote: true))\""
            }
            text += "}"
        }
        text += " \(value)\n"
    }

    /// A help text escapes backslashes and line feeds, a label's value quotes as well.
    private static func escaped(_ text: String, quote: Bool) -> String {
        guard text.utf8.contains(where: { $0 == 0x5C || $0 == 0x0A || $0 == 0x22 }) else { return text }
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quote: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}

extension Metric.Sample {
    /// With one label.
    init(_ name: String, _ label: String, _ value: some BinaryInteger) {
        self.init(labels: [(name, label)], value: "\(value)")
    }
}
