import SluiceClient
import SluicePolicy

/// The policies in force in a sidecar.
struct RunningPolicies {
    /// The path that the sidecar read them from.
    let source: String
    let policies: PolicySet

    /// Reads the answer to `POLICY DOCUMENTS`.
    init(_ reply: Reply) throws(SluiceError) {
        let fields = try ReplyFields(reply)
        source = try fields.string("source")
        let files = try fields.texts("files").map { (name: $0, bytes: Array($1.utf8)) }
        do {
            // The sidecar knows what it supports: whatever it has in force is shown.
            if try fields.integer("single") == 1, let file = files.first {
                policies = PolicySet(
                    single: try PolicyDocument.parse(file.bytes, file: file.name, features: .all))
            } else {
                policies = try PolicySet.parse(files: files, features: .all)
            }
        } catch {
            throw .malformedReply("expected policies of this version")
        }
    }

    /// Asks a sidecar.
    static func ask(_ sidecar: SidecarOptions, _ console: Console) async throws(ControlFailure) -> RunningPolicies {
        try await sidecar.ask(console) { sluice throws(SluiceError) in
            try RunningPolicies(await sluice.send(["POLICY", "DOCUMENTS"]))
        }
    }
}
