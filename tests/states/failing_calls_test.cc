// Each call of file system, object store and catalogue fails, once and for ever.
#include <atomic>
#include <functional>
#include <iostream>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/log.h"
#include "tests/states/state_check.h"
#include "tests/support/fault_fs.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kOwnFiles = "data/wal/";
/// Fewer failing calls over all actions, and a test proves nothing.
constexpr std::uint64_t kHitsMin = 12;

/// One of the three things that fail.
struct Fault {
    std::optional<FsFault> fs;
    std::optional<ObjectFault> objects;
    std::optional<CatalogueFault> catalogue;

    Fault with(const FaultPlan& plan) const {
        auto fault = *this;
        if (fault.fs.has_value()) {
            fault.fs->plan = plan;
        } else if (fault.objects.has_value()) {
            fault.objects->plan = plan;
        } else {
            fault.catalogue->plan = plan;
        }
        return fault;
    }
    std::uint64_t nth() const {
        return fs.has_value()        ? fs->plan.nth
               : objects.has_value() ? objects->plan.nth
                                     : catalogue->plan.nth;
    }
    ErrorCode code() const {
        return fs.has_value() ? fs->code : objects.has_value() ? objects->code : catalogue->code;
    }
};

/// What a process is doing while calls fail.
struct Action {
    const char* name;
    bool before_start = false;  ///< The fault is there when the process starts: `act` is the start.
    std::function<void(StoreProcess&)> act;
};

/// A disk to begin with, and what is known of it.
struct Beginning {
    std::unique_ptr<CrashFs> disk;
    RowLedger ledger;
};

Result<> flush_for_a_while(StoreProcess& process) {
    auto context = process.context();
    context.deadline = process.clock().steady_now() + seconds(3);
    return process.ingester().flush_all(context);
}

std::vector<Action> actions() {
    return {
        {.name = "append",
         .act =
             [](StoreProcess& process) {
                 (void)process.ingest("app", 2);
                 (void)process.ingest("new", 1);
                 (void)process.ingest("app", 1);
             }},
        {.name = "rotate",
         .act =
             [](StoreProcess& process) {
                 for (int i = 0; i < 4; ++i) {
                     (void)process.ingest("app", 46);
                     process.ingester().maintain();
                 }
             }},
        {.name = "flush",
         .act =
             [](StoreProcess& process) {
                 (void)process.ingest("app", 3, hours(30));
                 (void)process.ingest("app", 2);
                 (void)flush_for_a_while(process);
             }},
        {.name = "retention",
         .act =
             [](StoreProcess& process) {
                 (void)process.expire("old", 7);
                 process.advance(seconds(1000));
                 (void)process.retain();
             }},
        {.name = "compaction", .act = [](StoreProcess& process) { (void)process.merge(); }},
        {.name = "part dump", .act = [](StoreProcess& process) { (void)process.dump(1); }},
        {.name = "drop", .act = [](StoreProcess& process) { (void)process.drop("web"); }},
        {.name = "stop", .act = [](StoreProcess& process) { (void)process.stop(); }},
        {.name = "recover",
         .before_start = true,
         .act =
             [](StoreProcess& process) {
                 if (const auto started = process.start(); started) {
                     (void)flush_for_a_while(process);
                 }
             }},
    };
}

StoreSettings settings_for(const RowLedger& ledger) {
    return {.seed = ledger.next_row(), .next_row = ledger.next_row(), .now_ns = ledger.now_ns()};
}

/// Rows in parts and in the log, and a flush that a power cut ended between its objects and its
/// commit.
Beginning filled_disk() {
    const CrashFs empty;
    const auto run = record_run(empty, {}, [](FileSystem& files, const LedgerSink& sink) {
        StoreProcess process(files, {}, sink);
        process.advance(seconds(0));
        MS_ASSERT(process.start());
        MS_ASSERT(process.ingest("old", 3, hours(240)));
        MS_ASSERT(process.ingest("web", 4));
        MS_ASSERT(process.flush_all());
        // A second part of the day, to be merged with the first.
        MS_ASSERT(process.ingest("web", 4));
        MS_ASSERT(process.flush_all());
        MS_ASSERT(process.ingest("web", 3));
        MS_ASSERT(process.ingest("app", 5, hours(30)));
        MS_ASSERT(process.ingest("app", 1));
        sink([](RowLedger&) {});
        MS_ASSERT(process.flush_all());
        (void)process.stop();
    });
    RunReplay replay(run);
    std::unique_ptr<CrashFs> disk;
    RowLedger ledger;
    // The last rename is that of the last part's object.
    std::uint64_t renames =
        run.boundaries().at(static_cast<std::size_t>(DiskOperation::Kind::kRename));
    while (replay.next_boundary()) {
        if (replay.operation()->kind == DiskOperation::Kind::kRename && --renames == 0) {
            disk = replay.disk().clone_after_crash(1, CrashModel::kMetadataWithoutData);
            ledger = replay.ledger();
        }
    }
    return {.disk = std::move(disk), .ledger = ledger};
}

/// One process, one fault. Reports what is wrong with ADD_FAILURE.
class FaultRun {
public:
    FaultRun(const Beginning& beginning, const Action& action, const Fault& fault)
        : action_(action),
          fault_(fault),
          disk_(beginning.disk->clone_after_crash(0, CrashModel::kDropUnsynced)),
          files_(*disk_),
          ledger_(beginning.ledger),
          process_(files_, settings_for(beginning.ledger), [this](const LedgerNote& note) {
              const MutexLock lock(mutex_);
              note(ledger_);
          }) {}

    /// Whether the fault fired.
    bool run() {
        if (!action_.before_start) {
            expect("start without a fault", process_.start());
        }
        arm();
        drive([&] { action_.act(process_); });
        const auto fired = this->fired();
        // What is acknowledged now survives a power cut now.
        expect_state(StateDepth::kStart, "a power cut during the fault");
        disarm();
        go_on();
        expect("stop", process_.stop());
        expect_state(StateDepth::kGoOn, "a power cut after the fault");
        // SQLite may: it writes the pages again before it does.
        if (fault_.fs.has_value() && fault_.fs->path_contains == kOwnFiles &&
            files_.syncs_after_failure() > 0) {
            complain("a file was synced again after a sync that failed");
        }
        return fired;
    }

private:
    void arm() {
        if (fault_.fs.has_value()) {
            auto fault = *fault_.fs;
            fault.failed_sync = [this](const std::string& path) { disk_->lose_unsynced(path); };
            files_.arm(std::move(fault));
        }
        process_.fault_of_objects = fault_.objects;
        process_.fault_of_catalogue = fault_.catalogue;
        if (process_.is_running() && fault_.objects.has_value()) {
            process_.faulty_objects->arm(*fault_.objects);
        }
        if (process_.is_running() && fault_.catalogue.has_value()) {
            process_.faulty_catalogue->arm(*fault_.catalogue);
        }
    }
    bool fired() const {
        return fault_.fs.has_value()
                   ? files_.fired() > 0
                   : (process_.faulty_objects != nullptr && process_.faulty_objects->fired() > 0) ||
                         (process_.faulty_catalogue != nullptr &&
                          process_.faulty_catalogue->fired() > 0);
    }
    void disarm() {
        files_.disarm();
        process_.fault_of_objects.reset();
        process_.fault_of_catalogue.reset();
        if (process_.faulty_objects != nullptr) {
            process_.faulty_objects->disarm();
        }
        if (process_.faulty_catalogue != nullptr) {
            process_.faulty_catalogue->disarm();
        }
    }

    /// Runs `call` while time passes, so that what waits or tries again comes to an end.
    void drive(const std::function<void()>& call) {
        std::atomic<bool> done = false;
        std::thread thread([&] {
            call();
            done = true;
        });
        while (!done) {
            process_.advance(milliseconds(1));
            std::this_thread::yield();
        }
        thread.join();
    }

    /// The fault is gone: rows are taken again, by itself or, if the log had to be given up, after
    /// a restart; everything flushes and is there once.
    void go_on() {
        if (process_.is_running()) {
            bool works = false;
            drive([&] {
                for (int i = 0; i < 100 && !works; ++i) {
                    works = process_.ingest("app", 1).has_value();
                    if (!works) {
                        process_.advance(seconds(1));
                        process_.ingester().maintain();
                    }
                }
            });
            const bool given_up = process_.ingester().wal().stats().read_only;
            if (!works && !given_up) {
                complain("rows are refused, and the log is not read-only");
            }
            if (given_up) {
                if (fault_.code() == ErrorCode::kResourceExhausted) {
                    complain("a lack of space made the log read-only");
                }
                (void)process_.stop();
            }
        }
        if (!process_.is_running()) {
            (void)process_.stop();
            expect("start again", process_.start());
            expect("rows after the restart", process_.ingest("app", 1));
        }
        expect("flush", process_.flush_all());
        process_.advance(seconds(400));
        expect("merge", process_.merge());
        const auto found = process_.find();
        expect("read", found);
        if (found) {
            const MutexLock lock(mutex_);
            for (const auto& fault : ledger_.faults(*found)) {
                complain(fault);
            }
        }
    }

    void expect_state(StateDepth depth, std::string_view when) {
        RowLedger ledger;
        {
            const MutexLock lock(mutex_);
            ledger = ledger_;
        }
        const auto seed = fault_.nth() + ++cuts_;
        const auto cut =
            disk_->clone_after_crash(seed, kCrashModels[seed % std::size(kCrashModels)]);
        for (const auto& fault : check_state(*cut, ledger, ledger.next_row(), depth).faults) {
            complain(fmt::format("after {}: {}", when, fault));
        }
    }
    template <class Done>
    void expect(std::string_view what, const Done& done) {
        if (!done) {
            complain(fmt::format("{}: {}", what, done.error().message()));
        }
    }
    void complain(const std::string& what) { ADD_FAILURE() << action_.name << ": " << what; }

    const Action& action_;
    Fault fault_;
    std::unique_ptr<CrashFs> disk_;
    FaultFs files_;
    Mutex mutex_;
    RowLedger ledger_;
    StoreProcess process_;
    std::uint64_t cuts_ = 0;
};

class FailingCalls : public ::testing::Test {
protected:
    FailingCalls() {
        ::testing::internal::CaptureStderr();  // Failures are reported by the hundred.
    }
    ~FailingCalls() override { (void)::testing::internal::GetCapturedStderr(); }
    static void TearDownTestSuite() {
        if (::testing::UnitTest::GetInstance()->current_test_suite()->Passed() && !is_short()) {
            record_figure("failing-calls",
                          "states/failing_calls",
                          fmt::format("{} failing calls: 0 acknowledged by mistake, 0 lost, 0 "
                                      "doubled, every process went on",
                                      calls_),
                          std::nullopt);
        }
    }

    /// Sanitizers: of the calls beyond the first eight each fourth.
    static bool is_short() { return test_variable("MS_STATES_FEW") == "1"; }

    /// Every call, until the action is not hit any more. Returns how many were hit or left out.
    static std::uint64_t fail_each(const Beginning& beginning,
                                   const Action& action,
                                   const Fault& fault) {
        constexpr std::uint64_t kFirst = 8;
        constexpr std::uint64_t kEach = 4;
        return for_each_failure([&](const FaultPlan& plan) {
            if (is_short() && plan.nth > kFirst && plan.nth % kEach != 0) {
                return true;
            }
            const auto trace = fmt::format("{}: call {}, {}",
                                           action.name,
                                           plan.nth,
                                           plan.times == FaultTimes::kOnce ? "once" : "for ever");
            const ::testing::ScopedTrace scope(__FILE__, __LINE__, trace);
            return FaultRun(beginning, action, fault.with(plan)).run() && !HasFatalFailure() &&
                   failures() < 20;
        });
    }
    static void fail_each_action(const Beginning& beginning, const Fault& fault) {
        std::uint64_t total = 0;
        for (const auto& action : actions()) {
            const auto hits = fail_each(beginning, action, fault);
            std::cout << fmt::format("{}: {} failing calls\n", action.name, hits);
            total += hits;
        }
        EXPECT_GE(total, kHitsMin) << "the fault meets nothing";
        calls_ += total;
    }
    static int failures() {
        return ::testing::UnitTest::GetInstance()
            ->current_test_info()
            ->result()
            ->total_part_count();
    }
    static inline std::uint64_t calls_ = 0;  ///< That were hit, in all tests.
};

TEST_F(FailingCalls, OfTheFileSystemWithAnIoError) {
    fail_each_action(filled_disk(), {.fs = FsFault{.code = ErrorCode::kUnavailable}});
}

TEST_F(FailingCalls, OfTheSyncsOfTheLogAndNoneIsRepeated) {
    const Fault fault{.fs = FsFault{.verbs = {FsVerb::kSync}, .path_contains = kOwnFiles}};
    fail_each_action(filled_disk(), fault);
}

TEST_F(FailingCalls, OfTheFileSystemWithoutSpace) {
    fail_each_action(filled_disk(),
                     {.fs = FsFault{.verbs = {FsVerb::kOpen,
                                              FsVerb::kWrite,
                                              FsVerb::kAllocate,
                                              FsVerb::kCreateDirectories},
                                    .code = ErrorCode::kResourceExhausted}});
}

TEST_F(FailingCalls, OfAFileSystemThatTurnedReadOnly) {
    fail_each_action(filled_disk(),
                     {.fs = FsFault{.verbs = {FsVerb::kOpen,
                                              FsVerb::kWrite,
                                              FsVerb::kAllocate,
                                              FsVerb::kTruncate,
                                              FsVerb::kRename,
                                              FsVerb::kRemove,
                                              FsVerb::kCreateDirectories},
                                    .code = ErrorCode::kForbidden}});
}

TEST_F(FailingCalls, OfTheObjectStore) {
    const auto beginning = filled_disk();
    for (const auto effect : {ObjectFaultEffect::kErrorBefore,
                              ObjectFaultEffect::kErrorAfter,
                              ObjectFaultEffect::kShortBody,
                              ObjectFaultEffect::kCorruptBody}) {
        fail_each_action(beginning, {.objects = ObjectFault{.effect = effect}});
    }
}

TEST_F(FailingCalls, OfTheCatalogue) {
    const auto beginning = filled_disk();
    for (const auto effect :
         {CatalogueFaultEffect::kErrorBefore, CatalogueFaultEffect::kErrorAfter}) {
        fail_each_action(beginning, {.catalogue = CatalogueFault{.effect = effect}});
    }
}

/// The first start of all: directories, log, the catalogue's tables.
TEST_F(FailingCalls, DuringTheFirstStart) {
    Beginning nothing{.disk = std::make_unique<CrashFs>(), .ledger = {}};
    nothing.ledger.set_now(ManualClock::kStart.value);
    const Action start{.name = "first start",
                       .before_start = true,
                       .act = [](StoreProcess& process) { (void)process.start(); }};
    for (const auto code :
         {ErrorCode::kUnavailable, ErrorCode::kResourceExhausted, ErrorCode::kForbidden}) {
        const auto hits = fail_each(nothing, start, {.fs = FsFault{.code = code}});
        std::cout << fmt::format("first start: {} failing calls\n", hits);
        calls_ += hits;
    }
}

}  // namespace
}  // namespace molesignal
