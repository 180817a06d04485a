import SluiceClient

/// The members of a map in a reply.
struct ReplyFields {
    private let reply: Reply

    init(_ reply: Reply) throws(SluiceError) {
        guard reply.pairs != nil else { throw .malformedReply("expected a map") }
        self.reply = reply
    }

    func integer(_ name: String) throws(SluiceError) -> Int64 {
        guard let number = reply[name]?.integer else { throw .malformedReply("expected the integer \(name)") }
        return number
    }

    func string(_ name: String) throws(SluiceError) -> String {
        guard let text = reply[name]?.string else { throw .malformedReply("expected the string \(name)") }
        return text
    }

    /// A text that sidecars of earlier versions do not send: then it is empty.
    func laterString(_ name: String) throws(SluiceError) -> String {
        reply[name] == nil ? "" : try string(name)
    }

    /// A number that sidecars of earlier versions do not send: then it is -1.
    func laterInteger(_ name: String) throws(SluiceError) -> Int64 {
        reply[name] == nil ? -1 : try integer(name)
    }

    /// A map of names to texts, in its order.
    func texts(_ name: String) throws(SluiceError) -> [(String, String)] {
        let texts = reply[name]?.pairs?.compactMap { pair -> (String, String)? in
            guard let name = pair.key.string, let text = pair.value.string else { return nil }
            return (name, text)
        }
        guard let texts, texts.count == reply[name]?.pairs?.count else {
            throw .malformedReply("expected the map \(name) of texts")
        }
        return texts
    }

    func array(_ name: String) throws(SluiceError) -> [Reply] {
        guard let elements = reply[name]?.array else { throw .malformedReply("expected the array \(name)") }
        return elements
    }
}
