/// The methods that a server has.
package struct GRPCMethods: Sendable {
    package struct Method: Sendable {
        /// `/package.Service/Method`
        package let path: String
        package let maxMessageBytes: Int

        package init(_ path: String, maxMessageBytes: Int = GRPCBounds.maxMessageBytes) {
            self.path = path
            self.maxMessageBytes = maxMessageBytes
        }
    }

    private let methods: [Method]
    private let indices: [String: Int]

    package init(_ methods: [Method]) {
        self.methods = methods
        indices = Dictionary(methods.enumerated().map { ($1.path, $0) }, uniquingKeysWith: { first, _ in first })
    }

    func index(of path: String) -> Int? { indices[path] }

    package subscript(index: Int) -> Method { methods[index] }
}

/// A call whose request has arrived whole.
package struct GRPCCall: Sendable {
    /// Names the call on its connection.
    package let stream: Int
    /// The method's index.
    package let method: Int
    /// From `grpc-timeout`, counted from the arrival of the headers; nil if there was none.
    package let timeoutNs: Int64?
}
