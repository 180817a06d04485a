/// What the driver starts, and the faults that it injects.
struct ClusterPlan: Sendable, Equatable {
    var sidecars: Int
    /// The document's text.
    var policy = ""
    var faults = FaultScript()
}

/// Injects the faults of a script into a cluster at their times.
struct FaultPlayer: Sendable {
    let cluster: LocalCluster
    let script: FaultScript

    /// Plays the script until its end or its task's cancellation. - Parameter onNote: called with each action. -
    /// Returns: the actions with their times, counted from `startNs`.
    func play(fromNs startNs: Int64, onNote: @Sendable (String) -> Void) async -> [Timeline.Mark] {
        var marks: [Timeline.Mark] = []
        for step in script.steps {
            let waitNs = startNs + step.atNs - Clock.nowNs()
            if waitNs > 0, (try? await Task.sleep(for: .nanoseconds(waitNs))) == nil { break }
            if Task.isCancelled { break }
            var text = "\(step.action)"
            let atNs = Clock.nowNs() - startNs
            do {
                try await cluster.perform(step.action)
            } catch {
                text += " (failed: \(error))"
            }
            marks.append(Timeline.Mark(atNs: atNs, text: text))
            onNote("at \(Format.decimal(Double(atNs) / 1e9, places: 1)) s: \(text)")
        }
        return marks
    }
}
