import NIOCore
import SluiceProtocol
import Testing

@testable import SluiceClient

@Suite struct ConnectionSessionTests {
    private var session = ConnectionSession(id: 7, serverVersion: "0.1.0")

    @Test mutating func pingAndEcho() throws {
        #expect(try answer(&session, "PING") == "+PONG\r\n")
        #expect(try answer(&session, "ping", "a b") == "$3\r\na b\r\n")
        #expect(try answer(&session, "ECHO", "") == "$0\r\n\r\n")
        #expect(try answer(&session, "ECHO", "x\r\ny") == "$4\r\nx\r\ny\r\n")
    }

    @Test mutating func hello2() throws {
        #expect(
            try answer(&session, "HELLO")
                == "*14\r\n$6\r\nserver\r\n$6\r\nsluice\r\n$7\r\nversion\r\n$5\r\n0.1.0\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:7\r\n"
                + "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n")
    }

    @Test mutating func hello3() throws {
        #expect(
            try answer(&session, "HELLO", "3", "AUTH", "default", "secret", "SETNAME", "gateway")
                == "%7\r\n$6\r\nserver\r\n$6\r\nsluice\r\n$7\r\nversion\r\n$5\r\n0.1.0\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7\r\n"
                + "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n")
        #expect(session.version == .resp3)
        #expect(session.name == "gateway")
        #expect(try answer(&session, "HELLO").hasPrefix("%7\r\n"))
        #expect(try answer(&session, "HELLO", "2").hasPrefix("*14\r\n"))
        #expect(session.version == .resp2)
        #expect(session.name == "gateway")
    }

    @Test mutating func aWriterKeepsTheVersionOfItsTime() throws {
        let before = session.writer
        _ = try answer(&session, "HELLO", "3")
        #expect(before.version == .resp2)
        #expect(session.writer.version == .resp3)
    }

    @Test mutating func authAndSelect() throws {
        #expect(try answer(&session, "AUTH", "secret") == "+OK\r\n")
        #expect(try answer(&session, "AUTH", "user", "secret") == "+OK\r\n")
        #expect(try answer(&session, "SELECT", "0") == "+OK\r\n")
        #expect(!session.writer.namesFields)
        #expect(try answer(&session, "SELECT", "1") == "+OK\r\n")
        #expect(session.writer.namesFields)
        #expect(try answer(&session, "CLIENT", "LIST").contains(" db=1 "))
        #expect(try answer(&session, "SELECT", "0") == "+OK\r\n")
        #expect(!session.writer.namesFields)
        _ = try answer(&session, "HELLO", "3")
        #expect(session.writer.namesFields)
        _ = try answer(&session, "SELECT", "1")
        #expect(try answer(&session, "RESET") == "+RESET\r\n")
        #expect(session.writer == ReplyWriter(version: .resp2))
    }

    @Test mutating func transactions() throws {
        for word in ["EXEC", "DISCARD"] {
            #expect(try answer(&session, word) == "-ERR \(word) without MULTI, send the commands alone\r\n")
        }
        #expect(try answer(&session, "MULTI") == "+OK\r\n")
        #expect(session.isInTransaction)
        #expect(try answer(&session, "MULTI").hasPrefix("-ERR MULTI calls can not be nested"))
        #expect(try answer(&session, "EXEC") == "*0\r\n")
        #expect(!session.isInTransaction)
        _ = try answer(&session, "MULTI")
        session.noteRejected()
        #expect(try answer(&session, "EXEC").hasPrefix("-EXECABORT nothing was run and nothing charged"))
        _ = try answer(&session, "MULTI")
        session.noteRejected()
        #expect(try answer(&session, "DISCARD") == "+OK\r\n")
        #expect(!session.isInTransaction)
        _ = try answer(&session, "MULTI")
        #expect(try answer(&session, "EXEC") == "*0\r\n")
        _ = try answer(&session, "MULTI")
        _ = try answer(&session, "RESET")
        #expect(!session.isInTransaction)
    }

    @Test mutating func client() throws {
        #expect(try answer(&session, "CLIENT", "ID") == ":7\r\n")
        #expect(try answer(&session, "CLIENT", "GETNAME") == "$-1\r\n")
        #expect(try answer(&session, "CLIENT", "SETNAME", "me") == "+OK\r\n")
        #expect(try answer(&session, "CLIENT", "GETNAME") == "$2\r\nme\r\n")
        #expect(try answer(&session, "CLIENT", "LIST") == "$25\r\nid=7 name=me db=0 resp=2\n\r\n")
        #expect(try answer(&session, "CLIENT", "SETINFO", "LIB-NAME", "redis-py") == "+OK\r\n")
        #expect(try answer(&session, "CLIENT", "NO-EVICT", "ON") == "+OK\r\n")
        #expect(try answer(&session, "CLIENT", "NO-TOUCH", "ON") == "+OK\r\n")
        #expect(try answer(&session, "CLIENT", "CAPA", "redirect") == "+OK\r\n")
        _ = try answer(&session, "HELLO", "3")
        #expect(try answer(&session, "CLIENT", "INFO") == "=29\r\ntxt:id=7 name=me db=0 resp=3\n\r\n")
        #expect(try answer(&session, "CLIENT", "SETNAME", "") == "+OK\r\n")
        #expect(try answer(&session, "CLIENT", "GETNAME") == "_\r\n")
    }

    @Test mutating func settings() throws {
        #expect(try answer(&session, "CONFIG", "GET", "save") == "*2\r\n$4\r\nsave\r\n$0\r\n\r\n")
        #expect(try answer(&session, "config", "get", "APPENDONLY") == "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n")
        #expect(try answer(&session, "CONFIG", "GET", "maxmemory") == "*0\r\n")
        let all = "$4\r\nsave\r\n$0\r\n\r\n$10\r\nappendonly\r\n$2\r\nno\r\n$9\r\ndatabases\r\n$1\r\n2\r\n"
        #expect(try answer(&session, "CONFIG", "GET", "*") == "*6\r\n" + all)
        #expect(try answer(&session, "CONFIG", "GET", "s*", "?ppend*y", "d*b*s") == "*6\r\n" + all)
        _ = try answer(&session, "HELLO", "3")
        #expect(try answer(&session, "CONFIG", "GET", "s?ve") == "%1\r\n$4\r\nsave\r\n$0\r\n\r\n")
    }

    @Test mutating func aPatternOfStarsIsHarmless() throws {
        let stars = String(repeating: "*a", count: 20_000)
        #expect(try answer(&session, "CONFIG", "GET", stars) == "*0\r\n")
    }

    @Test mutating func commands() throws {
        #expect(try answer(&session, "COMMAND", "COUNT") == ":28\r\n")
        #expect(try answer(&session, "COMMAND", "LIST").hasPrefix("*28\r\n$5\r\ncheck\r\n$4\r\npeek\r\n"))
        #expect(try answer(&session, "COMMAND").hasPrefix("*28\r\n*10\r\n$5\r\ncheck\r\n:-3\r\n"))
        #expect(
            try answer(&session, "COMMAND", "INFO", "Check", "get", "ping")
                == "*3\r\n*10\r\n$5\r\ncheck\r\n:-3\r\n*2\r\n+write\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n*0\r\n*0\r\n*-1\r\n"
                + "*10\r\n$4\r\nping\r\n:-1\r\n*1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*0\r\n*0\r\n")
        #expect(try answer(&session, "COMMAND", "GETKEYS", "CHECK", "alice", "t") == "*1\r\n$5\r\nalice\r\n")
        _ = try answer(&session, "HELLO", "3")
        #expect(
            try answer(&session, "COMMAND", "INFO", "cancel", "get")
                == "*2\r\n*10\r\n$6\r\ncancel\r\n:3\r\n~2\r\n+write\r\n+fast\r\n:1\r\n:1\r\n:1\r\n~0\r\n*0\r\n*0\r\n*0\r\n_\r\n"
        )
    }

    @Test mutating func documentation() throws {
        #expect(try answer(&session, "COMMAND", "DOCS", "get") == "*0\r\n")
        #expect(
            try answer(&session, "COMMAND", "DOCS", "reset")
                == "*2\r\n$5\r\nreset\r\n*6\r\n$7\r\nsummary\r\n$41\r\nReturns to RESP2 and takes the name away.\r\n"
                + "$5\r\nsince\r\n$5\r\n1.0.0\r\n$5\r\ngroup\r\n$10\r\nconnection\r\n")
        for version in ["2", "3"] {
            _ = try answer(&session, "HELLO", version)
            var output = ByteBuffer(string: try answer(&session, "COMMAND", "DOCS"))
            var parser = ReplyParser()
            let value = try #require(try parser.next(in: &output))
            #expect(output.readableBytes == 0)
            switch value {
            case .map(let pairs): #expect(pairs.count == 28)
            case .array(let elements): #expect(elements.count == 56)
            default: Issue.record("neither a map nor an array")
            }
        }
    }

    @Test mutating func resetAndQuit() throws {
        _ = try answer(&session, "HELLO", "3", "SETNAME", "me")
        #expect(try answer(&session, "RESET") == "+RESET\r\n")
        #expect(session.version == .resp2)
        #expect(session.name.isEmpty)
        var output = ByteBuffer()
        #expect(session.answer(.quit, in: ByteBuffer(), to: &output) == .closeAfterReply)
        #expect(String(buffer: output) == "+OK\r\n")
        #expect(session.answer(.reset, in: ByteBuffer(), to: &output) == .goOn)
    }
}
