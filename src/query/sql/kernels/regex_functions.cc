// ms_regexp_*(text, pattern, …): DuckDB's regular expressions with the pattern in quotes, compiled
// once for each thread, with interrupts between rows and matches and a bound on the work of one
// row.
#include <duckdb.hpp>
#include <duckdb/common/vector_operations/binary_executor.hpp>
#include <duckdb/common/vector_operations/unary_executor.hpp>
#include <duckdb/execution/expression_executor.hpp>
#include <duckdb/main/extension/extension_loader.hpp>
#include <duckdb/planner/expression/bound_function_expression.hpp>
#include <fmt/format.h>
#include <re2/re2.h>

#include "query/sql/kernels/kernel_steps.h"
#include "query/sql/kernels/kernels.h"

namespace molesignal {
namespace {

constexpr std::size_t kPatternBytesMax = 1'000;
constexpr int kProgramMax = 20'000;
/// RE2's automaton falls back to a simulation whose time is program times text, and which cannot be
/// interrupted: about two seconds.
constexpr std::uint64_t kStepsMax = 200'000'000;

re2::StringPiece piece(const duckdb::string_t& text) {
    return {text.GetData(), text.GetSize()};
}

struct RegexData final : duckdb::FunctionData {
    std::string pattern;
    RE2::Options options;
    bool replaces_all = false;
    int group = 0;

    duckdb::unique_ptr<duckdb::FunctionData> Copy() const override {
        return duckdb::make_uniq<RegexData>(*this);
    }
    bool Equals(const duckdb::FunctionData& other) const override {
        const auto& data = other.Cast<RegexData>();
        return pattern == data.pattern && replaces_all == data.replaces_all &&
               group == data.group && options.case_sensitive() == data.options.case_sensitive() &&
               options.literal() == data.options.literal() &&
               options.dot_nl() == data.options.dot_nl();
    }
};

/// A thread's own automaton: a shared one is behind a lock.
struct RegexState final : duckdb::FunctionLocalState {
    explicit RegexState(const RegexData& data) : regex(data.pattern, data.options) {}
    RE2 regex;
};

void set_options(RegexData& data, const std::string& options) {
    data.options.set_log_errors(false);
    for (const char option : options) {
        switch (option) {
            case 'c':
                data.options.set_case_sensitive(true);
                break;
            case 'i':
                data.options.set_case_sensitive(false);
                break;
            case 'l':
                data.options.set_literal(true);
                break;
            case 'm':
            case 'n':
            case 'p':
                data.options.set_dot_nl(false);
                break;
            case 's':
                data.options.set_dot_nl(true);
                break;
            case 'g':
                data.replaces_all = true;
                break;
            case ' ':
            case '\t':
            case '\n':
                break;
            default:
                throw duckdb::InvalidInputException(
                    "a regular expression has no option '%s'; there are c, i, l, m, n, p, s and g",
                    std::string(1, option));
        }
    }
}

std::string constant_argument(duckdb::ClientContext& context, const duckdb::Expression& argument) {
    const auto value = duckdb::ExpressionExecutor::EvaluateScalar(context, argument);
    return value.IsNull() ? std::string() : value.ToString();
}

duckdb::unique_ptr<duckdb::FunctionData> bind_regex(
    duckdb::ClientContext& context,
    duckdb::ScalarFunction& function,
    duckdb::vector<duckdb::unique_ptr<duckdb::Expression>>& arguments) {
    auto data = duckdb::make_uniq<RegexData>();
    data->pattern = constant_argument(context, *arguments[1]);
    set_options(*data, constant_argument(context, *arguments.back()));
    if (data->pattern.size() > kPatternBytesMax) {
        throw duckdb::InvalidInputException(
            "the regular expression has %llu bytes, the limit is "
            "%llu",
            data->pattern.size(),
            kPatternBytesMax);
    }
    const RE2 regex(data->pattern, data->options);
    if (!regex.ok()) {
        throw duckdb::InvalidInputException("regular expression: %s", regex.error());
    }
    if (regex.ProgramSize() > kProgramMax) {
        throw duckdb::InvalidInputException(
            "the regular expression is too large: %d steps, the limit is %d (repetitions "
            "multiply)",
            regex.ProgramSize(),
            kProgramMax);
    }
    if (function.name == "ms_regexp_extract") {
        const auto group = constant_argument(context, *arguments[2]);
        data->group = group.size() == 1 ? group[0] - '0' : -1;
        if (data->group < 0 || data->group > regex.NumberOfCapturingGroups()) {
            throw duckdb::InvalidInputException("the regular expression has %d groups, not %s",
                                                regex.NumberOfCapturingGroups(),
                                                group);
        }
    }
    return data;
}

duckdb::unique_ptr<duckdb::FunctionLocalState> init_regex(duckdb::ExpressionState&,
                                                          const duckdb::BoundFunctionExpression&,
                                                          duckdb::FunctionData* data) {
    return duckdb::make_uniq<RegexState>(data->Cast<RegexData>());
}

/// The regular expression of a call, and the work it does.
class RegexCall {
public:
    explicit RegexCall(duckdb::ExpressionState& state)
        : steps_(state),
          data_(state.expr.Cast<duckdb::BoundFunctionExpression>().bind_info->Cast<RegexData>()),
          regex_(duckdb::ExecuteFunctionState::GetFunctionState(state)->Cast<RegexState>().regex),
          program_(static_cast<std::uint64_t>(regex_.ProgramSize())) {}

    const RegexData& data() const { return data_; }
    const RE2& regex() const { return regex_; }
    /// Before each search of a text.
    void begin_text(const duckdb::string_t& text) {
        const auto work = program_ * text.GetSize();
        if (work > kStepsMax) {
            throw duckdb::InvalidInputException(
                "a regular expression of %llu steps over a value of %llu bytes takes too long; "
                "make "
                "it simpler, or cut the value with left(…)",
                program_,
                text.GetSize());
        }
        // Mostly it takes a nanosecond a byte; the rest is for when it does not.
        steps_.count(text.GetSize() + work / 8);
    }
    void count(std::uint64_t steps) { steps_.count(steps); }

private:
    KernelSteps steps_;
    const RegexData& data_;
    const RE2& regex_;
    std::uint64_t program_;
};

template <RE2::Anchor kAnchor>
void run_matches(duckdb::DataChunk& arguments,
                 duckdb::ExpressionState& state,
                 duckdb::Vector& result) {
    RegexCall call(state);
    duckdb::UnaryExecutor::Execute<duckdb::string_t, bool>(
        arguments.data[0], result, arguments.size(), [&](const duckdb::string_t& text) {
            call.begin_text(text);
            return call.regex().Match(piece(text), 0, text.GetSize(), kAnchor, nullptr, 0);
        });
}

void run_extract(duckdb::DataChunk& arguments,
                 duckdb::ExpressionState& state,
                 duckdb::Vector& result) {
    RegexCall call(state);
    duckdb::UnaryExecutor::Execute<duckdb::string_t, duckdb::string_t>(
        arguments.data[0], result, arguments.size(), [&](const duckdb::string_t& text) {
            call.begin_text(text);
            re2::StringPiece groups[10];
            const auto group = static_cast<std::size_t>(call.data().group);
            const bool found = call.regex().Match(
                piece(text), 0, text.GetSize(), RE2::UNANCHORED, groups, call.data().group + 1);
            return found && groups[group].data() != nullptr
                       ? duckdb::StringVector::AddString(
                             result, groups[group].data(), groups[group].size())
                       : duckdb::string_t();
        });
}

/// RE2::GlobalReplace (or Replace), match by match.
void replace_matches(RegexCall& call,
                     const duckdb::string_t& text,
                     const std::string& rewrite,
                     int groups,
                     std::string& out) {
    const auto all = piece(text);
    re2::StringPiece match[10];
    std::size_t at = 0;
    std::size_t copied = 0;
    const char* last_end = nullptr;
    while (at <= all.size() &&
           call.regex().Match(all, at, all.size(), RE2::UNANCHORED, match, groups + 1)) {
        const auto begin = static_cast<std::size_t>(match[0].data() - all.data());
        const auto end = begin + match[0].size();
        call.count(end - at + rewrite.size() + 50);
        if (match[0].empty() && all.data() + begin == last_end) {
            // No empty match right behind another: one character on.
            at = begin + 1;
            while (at < all.size() && (static_cast<unsigned char>(all[at]) & 0xc0U) == 0x80U) {
                ++at;
            }
            continue;
        }
        out.append(all.data() + copied, begin - copied);
        call.regex().Rewrite(&out, rewrite, match, groups + 1);
        copied = end;
        at = end;
        last_end = all.data() + end;
        if (!call.data().replaces_all) {
            break;
        }
    }
    out.append(all.data() + copied, all.size() - copied);
}

void run_replace(duckdb::DataChunk& arguments,
                 duckdb::ExpressionState& state,
                 duckdb::Vector& result) {
    RegexCall call(state);
    std::string out;
    duckdb::BinaryExecutor::Execute<duckdb::string_t, duckdb::string_t, duckdb::string_t>(
        arguments.data[0],
        arguments.data[2],
        result,
        arguments.size(),
        [&](const duckdb::string_t& text, const duckdb::string_t& replacement) {
            call.begin_text(text);
            const auto rewrite = replacement.GetString();
            std::string error;
            if (!call.regex().CheckRewriteString(rewrite, &error)) {
                throw duckdb::InvalidInputException("regexp_replace: %s", error);
            }
            out.clear();
            replace_matches(call, text, rewrite, RE2::MaxSubmatch(rewrite), out);
            return duckdb::StringVector::AddString(result, out);
        });
}

/// Of what is asked of the values of an index: their bytes times the program's steps.
constexpr std::uint64_t kValueBytesMax = 256U << 10U;

}  // namespace

std::optional<RegexCondition> regex_condition(const duckdb::BoundFunctionExpression& call) {
    const bool is_whole = call.function.name == "ms_regexp_full_match";
    if ((!is_whole && call.function.name != "ms_regexp_matches") || call.bind_info == nullptr) {
        return std::nullopt;
    }
    const auto& data = call.bind_info->Cast<RegexData>();
    RegexCondition condition{.pattern = data.pattern,
                             .mode = {.ignores_case = !data.options.case_sensitive(),
                                      .is_literal = data.options.literal()},
                             .is_whole = is_whole,
                             .matches = nullptr};
    auto regex = std::make_shared<const RE2>(data.pattern, data.options);
    if (regex->ok() &&
        static_cast<std::uint64_t>(regex->ProgramSize()) * kValueBytesMax <= kStepsMax) {
        const auto anchor = is_whole ? RE2::ANCHOR_BOTH : RE2::UNANCHORED;
        condition.matches = [regex = std::move(regex), anchor](std::string_view text) {
            return regex->Match(
                re2::StringPiece(text.data(), text.size()), 0, text.size(), anchor, nullptr, 0);
        };
    }
    return condition;
}

void register_regex_functions(duckdb::DuckDB& database, duckdb::Connection& connection) {
    using Run = void (*)(duckdb::DataChunk&, duckdb::ExpressionState&, duckdb::Vector&);
    const auto text = duckdb::LogicalType::VARCHAR;
    const auto number = duckdb::LogicalType::INTEGER;
    const auto truth = duckdb::LogicalType::BOOLEAN;
    const auto make = [](const char* name,
                         duckdb::vector<duckdb::LogicalType> arguments,
                         const duckdb::LogicalType& result,
                         Run run) {
        duckdb::ScalarFunction function(
            name, std::move(arguments), result, run, bind_regex, nullptr, nullptr, init_regex);
        return function;
    };
    // Conditions are not said to fail, though they do for a very long value of a row: otherwise
    // DuckDB would neither hand them to scans, where indexes are asked, nor read less for them.
    auto matches =
        make("ms_regexp_matches", {text, text, text}, truth, run_matches<RE2::UNANCHORED>);
    auto full =
        make("ms_regexp_full_match", {text, text, text}, truth, run_matches<RE2::ANCHOR_BOTH>);
    auto extract = make("ms_regexp_extract", {text, text, number, text}, text, run_extract);
    auto replace = make("ms_regexp_replace", {text, text, text, text}, text, run_replace);
    connection.context->RunFunctionInTransaction([&] {
        duckdb::ExtensionLoader loader(*database.instance, "molesignal");
        for (auto* function : {&extract, &replace}) {
            duckdb::BaseScalarFunction::SetReturnsError(*function);
        }
        for (auto* function : {&matches, &full, &extract, &replace}) {
            loader.RegisterFunction(*function);
        }
    });
}

}  // namespace molesignal
