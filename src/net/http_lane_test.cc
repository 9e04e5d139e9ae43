#include "net/http_lane.h"

#include <vector>

#include <gtest/gtest.h>

namespace molesignal {
namespace {

using Entry = HttpLane::Entry;

HttpLaneOptions small() {
    HttpLaneOptions options;
    options.running_max = 1;
    options.waiting_max = 2;
    return options;
}

TEST(HttpLane, PlacesGoToWhoWaitsLongest) {
    HttpLane lane(small());
    std::vector<int> granted;
    HttpLane::Pass first;
    HttpLane::Pass second;
    HttpLane::Pass third;
    HttpLane::Pass fourth;
    EXPECT_EQ(lane.enter(first, [] {}), Entry::kEntered);
    EXPECT_EQ(lane.enter(second, [&] { granted.push_back(2); }), Entry::kWaits);
    EXPECT_EQ(lane.enter(third, [&] { granted.push_back(3); }), Entry::kWaits);
    EXPECT_EQ(lane.enter(fourth, [&] { granted.push_back(4); }), Entry::kFull);
    EXPECT_EQ(lane.stats().running, 1U);
    EXPECT_EQ(lane.stats().waiting, 2U);
    first.leave();
    EXPECT_EQ(granted, std::vector<int>{2});
    second.leave();
    EXPECT_EQ(granted, (std::vector<int>{2, 3}));
    third.leave();
    EXPECT_EQ(lane.stats().running, 0U);
    EXPECT_EQ(lane.enter(fourth, [] {}), Entry::kEntered);
}

TEST(HttpLane, WhoGivesUpIsNotServed) {
    HttpLane lane(small());
    HttpLane::Pass running;
    lane.enter(running, [] {});
    bool granted = false;
    {
        HttpLane::Pass gone;
        EXPECT_EQ(lane.enter(gone, [&] { granted = true; }), Entry::kWaits);
    }
    running = {};
    EXPECT_FALSE(granted);
    EXPECT_EQ(lane.stats().running, 0U);
}

TEST(HttpLane, APlaceGrantedAfterItsOwnerGaveUpIsPassedOn) {
    HttpLane lane(small());
    HttpLane::Pass running;
    lane.enter(running, [] {});
    HttpLane::Pass waiting;
    lane.enter(waiting, [] {});
    running.leave();
    waiting.leave();  // Before it heard of its place.
    EXPECT_EQ(lane.stats().running, 0U);
}

}  // namespace
}  // namespace molesignal
