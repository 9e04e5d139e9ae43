#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <simdjson.h>

#include "app/commands.h"
#include "app/server_connection.h"
#include "app/text_table.h"

namespace molesignal {

namespace {

struct TokenOptions {
    ConnectionOptions connection;
    std::string name;
    std::string id;
    std::vector<std::string> permissions;
    std::optional<std::int64_t> expires_days;
    bool as_json = false;
};

/// Sends and parses; an error answer is complained about and becomes an exit code.
Result<std::optional<std::string>> exchange(CommandContext& context,
                                            const TokenOptions& options,
                                            const ServerConnection::Request& request,
                                            ExitCode& code) {
    context.catch_interrupts();
    ServerConnection server(context, options.connection);
    MS_TRY(auto answer, server.send(request));
    if (answer.status / 100 != 2) {
        context.complain(escape_for_terminal(describe_answer(answer)));
        code = answer.status == 400 ? ExitCode::kUsage : exit_code_of_status(answer.status);
        return std::optional<std::string>();
    }
    code = ExitCode::kOk;
    return std::optional(std::move(answer.body));
}

std::string text_of(simdjson::dom::element object, std::string_view key) {
    simdjson::dom::element value;
    if (object[key].get(value) != simdjson::SUCCESS || value.is_null()) {
        return {};
    }
    std::string_view text;
    simdjson::dom::array items;
    if (value.get(text) == simdjson::SUCCESS) {
        return std::string(text);
    }
    if (value.get(items) == simdjson::SUCCESS) {
        std::string joined;
        for (const auto item : items) {
            std::string_view word;
            joined += joined.empty() ? "" : ",";
            joined +=
                item.get(word) == simdjson::SUCCESS ? std::string(word) : simdjson::minify(item);
        }
        return joined;
    }
    return simdjson::minify(value);
}

Result<ExitCode> create(CommandContext& context, const TokenOptions& options) {
    auto body = fmt::format(R"({{"name":{})", quote_json(options.name));
    if (!options.permissions.empty()) {
        std::string list;
        for (const auto& permission : options.permissions) {
            list += (list.empty() ? "" : ",") + quote_json(permission);
        }
        body += fmt::format(R"(,"permissions":[{}])", list);
    }
    if (options.expires_days) {
        const auto now_us = context.clock.now().value / 1000;
        body +=
            fmt::format(R"(,"expires_us":{})", now_us + *options.expires_days * 86'400 * 1'000'000);
    }
    body += "}";
    ExitCode code = ExitCode::kOk;
    MS_TRY(const auto answer,
           exchange(
               context, options, {.method = "POST", .path = "/api/v1/tokens", .body = body}, code));
    if (!answer) {
        return code;
    }
    if (options.as_json) {
        MS_TRY_VOID(context.print(*answer + "\n"));
        return code;
    }
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    if (parser.parse(*answer).get(document) != simdjson::SUCCESS ||
        text_of(document, "token").empty()) {
        return Error(ErrorCode::kInternal, "the server's answer holds no token");
    }
    context.note(fmt::format("token {}: it is shown this once; keep it safe",
                             escape_for_terminal(text_of(document, "id"))));
    MS_TRY_VOID(context.print(text_of(document, "token") + "\n"));
    return code;
}

Result<ExitCode> list(CommandContext& context, const TokenOptions& options) {
    ExitCode code = ExitCode::kOk;
    MS_TRY(const auto answer, exchange(context, options, {.path = "/api/v1/tokens"}, code));
    if (!answer) {
        return code;
    }
    if (options.as_json) {
        MS_TRY_VOID(context.print(*answer + "\n"));
        return code;
    }
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    simdjson::dom::array tokens;
    if (parser.parse(*answer).get(document) != simdjson::SUCCESS ||
        (document.get(tokens) != simdjson::SUCCESS &&
         document["tokens"].get(tokens) != simdjson::SUCCESS)) {
        return Error(ErrorCode::kInternal, "the server's answer is not a list of tokens");
    }
    const std::vector<std::string> columns{
        "id", "name", "prefix", "permissions", "created_us", "expires_us", "revoked_us"};
    TextTable table(columns);
    for (const auto token : tokens) {
        std::vector<TextTable::Cell> cells;
        for (const auto& column : columns) {
            cells.push_back({text_of(token, column), false});
        }
        table.add(std::move(cells));
    }
    MS_TRY_VOID(context.print(table.render()));
    return code;
}

Result<ExitCode> revoke(CommandContext& context, const TokenOptions& options) {
    ExitCode code = ExitCode::kOk;
    MS_TRY(const auto answer,
           exchange(context,
                    options,
                    {.method = "DELETE", .path = "/api/v1/tokens/" + escape_url_part(options.id)},
                    code));
    if (answer) {
        context.note(fmt::format("token {} is revoked", options.id));
    }
    return code;
}

using Action = Result<ExitCode> (*)(CommandContext&, const TokenOptions&);

void set_action(CLI::App& command,
                CommandContext& context,
                const std::shared_ptr<TokenOptions>& options,
                Action action) {
    add_connection_options(command, options->connection);
    command.callback([&context, options, action] {
        context.run = [&context, options, action] {
            auto done = action(context, *options);
            return done.has_value() ? *done : context.fail(done.error());
        };
    });
}

}  // namespace

void register_token_command(CLI::App& app, CommandContext& context) {
    auto* command = app.add_subcommand("token",
                                       "Create, list or revoke API tokens\n\nExamples:\n"
                                       "  molesignal token create collector --permission ingest\n"
                                       "  molesignal token list\n");
    auto options = std::make_shared<TokenOptions>();
    auto* create_command = command->add_subcommand(
        "create",
        "Create a token and print it, this once\n\nExamples:\n"
        "  MS_TOKEN=$(molesignal token create grafana --permission query --expires-days 90)\n");
    create_command->add_option("NAME", options->name, "What the token is for")
        ->required()
        ->type_name("NAME");
    create_command
        ->add_option(
            "--permission", options->permissions, "ingest, query or admin; may be repeated")
        ->check(CLI::IsMember({"ingest", "query", "admin"}))
        ->expected(1)
        ->take_all()
        ->type_name("NAME");
    create_command->add_option("--expires-days", options->expires_days, "Ends after this time")
        ->check(CLI::Range(1, 36'500))
        ->type_name("DAYS");
    create_command->add_flag("--json", options->as_json, "Print the whole answer");
    set_action(*create_command, context, options, create);

    auto* list_command = command->add_subcommand("list", "List the tokens, without their secrets");
    list_command->add_flag("--json", options->as_json, "Print the whole answer");
    set_action(*list_command, context, options, list);

    auto* revoke_command =
        command->add_subcommand("revoke",
                                "Revoke a token for good\n\nExamples:\n"
                                "  molesignal token revoke 01jnxkq3m5v8e2c4t6w8y0a2c4\n");
    revoke_command->add_option("ID", options->id, "As `molesignal token list` shows it")
        ->required()
        ->type_name("ID");
    set_action(*revoke_command, context, options, revoke);
}

}  // namespace molesignal
