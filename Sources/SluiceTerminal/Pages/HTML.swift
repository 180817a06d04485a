/// Parts of a self-contained page: no network, no script; light or dark as the reader's system is.
package enum HTML {
    package static func escape(_ text: String) -> String {
        var escaped = ""
        for character in text {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "'": escaped += "&#39;"
            case "\"": escaped += "&quot;"
            default: escaped.append(character)
            }
        }
        return escaped
    }

    /// - Parameters:
    ///   - style: `kept`, `doubtful` or `broken`: the colour of the heading.
    ///   - parts: HTML; empty ones are left out.
    package static func page(title: String, style: String, _ parts: [String]) -> String {
        """
        <!DOCTYPE html>
        <html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>
        <meta name='color-scheme' content='light dark'><title>\(escape(title))</title>
        <style>\(PageStyle.css)</style></head>
        <body class='\(style)'>
        \(parts.filter { !$0.isEmpty }.joined(separator: "\n"))
        </body></html>

        """
    }

    package static func header(_ title: String, _ line: String) -> String {
        "<header><h1>\(escape(title))</h1><p>\(escape(line))</p></header>"
    }

    /// Figures side by side, each with what it is.
    package static func tiles(_ tiles: [(name: String, value: String)]) -> String {
        "<section class='tiles'>"
            + tiles.map { "<div><b>\(escape($0.value))</b><span>\(escape($0.name))</span></div>" }.joined()
            + "</section>"
    }

    package static func table(_ title: String, _ columns: [String], _ rows: [[String]]) -> String {
        let head = columns.map { "<th>\(escape($0))</th>" }.joined()
        let body = rows.map { "<tr>" + $0.map { "<td>\(escape($0))</td>" }.joined() + "</tr>" }.joined()
        return
            "<section><h2>\(escape(title))</h2><div class='scroll'><table><tr>\(head)</tr>\(body)</table></div></section>"
    }
}
