import Foundation
import Support
import Testing

@testable import SluiceServer

@Suite struct HandedOverSocketTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// A socket bound to a path, or to nothing.
    private func socket(_ type: __socket_type, _ domain: Int32 = AF_UNIX, at path: String?, listens: Bool = true)
        -> Int32
    {
        let handle = Glibc.socket(domain, Int32(type.rawValue), 0)
        if let path { _ = SocketFile.withAddress(of: path) { bind(handle, $0, $1) } }
        if listens { listen(handle, 1) }
        return handle
    }

    private func failure(_ descriptor: Int32, name: String = "") -> String? {
        defer { close(descriptor) }
        do {
            _ = try HandedOverSocket(descriptor, name: name)
            return nil
        } catch { return error.description }
    }

    @Test func aListeningUnixStreamSocketIsTaken() throws {
        let path = folder.path("s.sock")
        let descriptor = socket(SOCK_STREAM, at: path)
        defer { close(descriptor) }
        let found = try HandedOverSocket(descriptor, name: "sluiced.socket")
        #expect(found == HandedOverSocket(descriptor: descriptor, name: "sluiced.socket", path: path))
        #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0)
    }

    @Test func othersAreFaults() throws {
        for (descriptor, what) in [
            (socket(SOCK_STREAM, at: folder.path("a"), listens: false), "is not a Unix stream socket that listens"),
            (socket(SOCK_DGRAM, at: folder.path("b"), listens: false), "is not a Unix stream socket that listens"),
            (socket(SOCK_SEQPACKET, at: folder.path("c")), "is not a Unix stream socket that listens"),
            (socket(SOCK_STREAM, AF_INET, at: nil), "is not a Unix stream socket that listens"),
            (open("/dev/null", O_RDONLY), "is not a Unix stream socket that listens"),
            (socket(SOCK_STREAM, at: "\0abstract-\(UUID())"), "has no path"),
        ] {
            let fault =
                "LISTEN_FDS: descriptor \(descriptor) (x) \(what), expected ListenStream=/PATH in the socket unit"
            #expect(failure(descriptor, name: "x") == fault)
        }
        #expect(failure(9_999) == "LISTEN_FDS: descriptor 9999 is not open")
    }

    @Test func whatIsForAnotherProcessIsNotTaken() throws {
        #expect(try HandedOverSocket.all(environment: [:]) == [])
        #expect(try HandedOverSocket.all(environment: ["LISTEN_FDS": "1"]) == [])
        #expect(try HandedOverSocket.all(environment: ["LISTEN_FDS": "1", "LISTEN_PID": "1"], processID: 2) == [])
        #expect(try HandedOverSocket.all(environment: ["LISTEN_FDS": "0", "LISTEN_PID": "2"], processID: 2) == [])
        for wrong in ["-1", "17", "x", "99999999999"] {
            #expect(
                throws: HandedOverSocket.Failure(
                    description: "LISTEN_FDS: found \(wrong), expected a number from 0 to 16")
            ) { try HandedOverSocket.all(environment: ["LISTEN_FDS": wrong, "LISTEN_PID": "2"], processID: 2) }
        }
    }

    @Test func eachHasASetting() throws {
        let sockets = ["/a", "/b"].enumerated().map {
            HandedOverSocket(descriptor: Int32(3 + $0.offset), name: "", path: $0.element)
        }
        let settings = [("socket", "/b"), ("http-socket", "/a")]
        #expect(try HandedOverSocket.assign(sockets, to: settings) == ["/a": 3, "/b": 4])
        #expect(try HandedOverSocket.assign([], to: settings) == [:])
        #expect(
            throws: HandedOverSocket.Failure(
                description: "LISTEN_FDS: descriptor 4 listens at /b, expected the path of --socket (/a)")
        ) { try HandedOverSocket.assign(sockets, to: [("socket", "/a")]) }
        #expect(
            throws: HandedOverSocket.Failure(
                description: "LISTEN_FDS: descriptor 3 is a second socket at /a, expected one")
        ) { try HandedOverSocket.assign([sockets[0], sockets[0]], to: [("socket", "/a")]) }
    }
}
