// Probes, metrics, version and the page at `/`.
#include <algorithm>
#include <span>

#include <fmt/format.h>

#include "api/http/http_api.h"

namespace molesignal {
namespace {

std::string escape_html(std::string_view text) {
    std::string out;
    for (const char character : text) {
        switch (character) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            default:
                out.push_back(character);
        }
    }
    return out;
}

constexpr std::size_t kStreamsShownMax = 100;

constexpr std::string_view kStyle =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 "
    "1rem;color:#1a1d21;"
    "background:#fff}h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}"
    "pre{background:#f2f4f7;padding:.7rem;overflow:auto;border-radius:6px}table{border-collapse:"
    "collapse;width:100%}"
    "td,th{text-align:left;padding:.25rem .8rem .25rem 0;border-bottom:1px solid #dfe3e8}"
    "td.n,th.n{text-align:right}.ok{color:#176639}.bad{color:#a11b12}"
    "@media(prefers-color-scheme:dark){body{background:#14171a;color:#e4e7eb}pre{background:#"
    "20252b}"
    "td,th{border-color:#333a42}.ok{color:#6fcf97}.bad{color:#ff8a80}}";

/// The table of streams; only shown where no credential is needed to see it.
std::string stream_rows(const RequestContext& context, ApiServices& services) {
    std::string rows;
    auto principal = services.authenticator->authenticate(context, std::nullopt, {});
    if (!principal) {
        return "<tr><td colspan=4>sign in with a token to see streams: <code>GET "
               "/api/v1/streams</code></td></tr>";
    }
    const auto streams = services.catalogue->list_streams(context, principal->org);
    if (!streams) {
        return fmt::format("<tr><td colspan=4 class=bad>{}</td></tr>",
                           escape_html(streams.error().message()));
    }
    for (const auto& stream :
         std::span(*streams).first(std::min(kStreamsShownMax, streams->size()))) {
        const auto hot = services.ingester->hot_snapshot(stream.id).rows();
        const auto totals = services.catalogue->stream_totals(context, stream.id);
        if (!totals) {
            continue;
        }
        rows += fmt::format(
            "<tr><td>{}</td><td>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{:.1f} "
            "MB</td></tr>",
            escape_html(stream.name),
            stream_type_name(stream.type),
            totals->rows,
            hot,
            static_cast<double>(totals->bytes) / 1e6);
    }
    if (streams->size() > kStreamsShownMax) {
        rows +=
            fmt::format("<tr><td colspan=5>and {} more: <code>GET /api/v1/streams</code></td></tr>",
                        streams->size() - kStreamsShownMax);
    }
    return rows.empty()
               ? "<tr><td colspan=5>none yet: send the first row with the command below</td></tr>"
               : rows;
}

std::string page(const RequestContext& context, ApiServices& services, std::string_view host) {
    const bool started = services.started.load(std::memory_order_acquire);
    const bool good = services.health.healthy();
    std::string problems;
    for (const auto& line : services.health.problems()) {
        problems += fmt::format("<li class=bad>{}</li>", escape_html(line));
    }
    const auto base = escape_html(host.empty() ? std::string_view("127.0.0.1:5080") : host);
    return fmt::format(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport "
        "content=\"width=device-width\">"
        "<title>MoleSignal</title><style>{}</style></head><body><h1>MoleSignal {}</h1>"
        "<p>One process, role <b>standalone</b>. Health: <b class={}>{}</b> "
        "(<a href=/healthz>healthz</a>, <a href=/readyz>readyz</a>, <a href=/metrics>metrics</a>, "
        "<a href=/api/v1/openapi.json>API</a>)</p><ul>{}</ul>"
        "<h2>Streams</h2><table><tr><th>name<th>type<th class=n>rows in parts<th class=n>rows in "
        "memory<th class=n>size</tr>{}</table>"
        "<h2>Send a row</h2><pre>curl http://{}/api/v1/ingest/logs/app \\\n  -d "
        "'{{\"level\":\"info\",\"service\":\"shop\",\"message\":\"hello world\"}}'</pre>"
        "<h2>Ask for it</h2><pre>curl http://{}/api/v1/query -d "
        "'{{\"language\":\"sql\",\"statement\":\n  \"SELECT _timestamp, level, message FROM "
        "logs.app ORDER BY _timestamp DESC LIMIT 10\"}}'</pre>"
        "<h2>Or by the command line</h2><pre>molesignal query 'SELECT level, count(*) FROM "
        "logs.app GROUP BY level'</pre>"
        "</body></html>",
        kStyle,
        escape_html(services.version),
        good ? "ok" : "bad",
        good ? "ok" : "not ready",
        problems,
        started ? stream_rows(context, services) : "<tr><td colspan=5>starting</td></tr>",
        base,
        base);
}

HttpResponse show_page(ApiCall& call, ApiServices& services) {
    auto response = HttpResponse::text(
        200, page(call.context, services, call.request.header("Host").value_or("")));
    response.set_header("Content-Type", "text/html; charset=utf-8");
    response.set_header("Content-Security-Policy",
                        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    return response;
}

Route public_route(std::string path, std::string summary, ApiHandler handler) {
    Route route;
    route.method = "GET";
    route.path = std::move(path);
    route.permission = Permission::kPublic;
    route.lane = Lane::kLight;
    route.summary = std::move(summary);
    route.handler = std::move(handler);
    return route;
}

void add_probe(RouteTable& routes, std::string path, std::string summary, ApiHandler handler) {
    auto route = public_route(std::move(path), std::move(summary), std::move(handler));
    route.is_probe = true;
    routes.add(std::move(route));
}

}  // namespace

void add_system_routes(RouteTable& routes, ApiServices& services) {
    add_probe(routes,
              "/healthz",
              "200 while the server is ready and no dependency is lost",
              [&services](ApiCall&) -> Result<HttpResponse> { return services.health.healthz(); });
    add_probe(routes,
              "/readyz",
              "200 once the log is replayed, until the server drains",
              [&services](ApiCall&) -> Result<HttpResponse> { return services.health.readyz(); });
    add_probe(routes,
              "/livez",
              "200 while the process lives; for liveness probes",
              [](ApiCall&) -> Result<HttpResponse> { return Health::livez(); });
    add_probe(routes,
              "/api/v1/version",
              "The server's version",
              [&services](ApiCall&) -> Result<HttpResponse> {
                  std::string body = R"({"name":"molesignal","version":)";
                  append_json_string(body, services.version);
                  return HttpResponse::json(200, body + "}");
              });
    auto metrics = public_route(
        "/metrics", "The server's own metrics", [&services](ApiCall&) -> Result<HttpResponse> {
            auto response = HttpResponse::text(200, services.metrics.expose());
            response.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
            return response;
        });
    metrics.response_type = "text/plain; version=0.0.4";
    routes.add(std::move(metrics));
    auto start_page = public_route(
        "/",
        "A page that says what runs and what to try first",
        [&services](ApiCall& call) -> Result<HttpResponse> { return show_page(call, services); });
    start_page.response_type = "text/html";
    start_page.lane = Lane::kAdmin;
    routes.add(std::move(start_page));
}

}  // namespace molesignal
