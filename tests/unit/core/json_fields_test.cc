#include "core/json_fields.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "core/json_cursor.h"

namespace baton {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kDepth = 64;

bool scans(std::string_view text) { return JsonFields::scan(text, kDepth).has_value(); }

std::string nested(std::size_t levels) {
  return R"({"a":)" + std::string(levels, '[') + std::string(levels, ']') + "}";
}

TEST(JsonFields, FindsMembersWithTheirExactBytes) {
  const std::string text = R"( {"a": 1.50e+3 ,"b":[1,{"a":2}], "c":"x\"y","d":null,"e":true} )";
  const auto fields = JsonFields::scan(text, kDepth);
  ASSERT_TRUE(fields) << fields.error().message;
  ASSERT_EQ(fields->all().size(), 5U);
  EXPECT_EQ(value_of(*fields->find("a"), text).text, "1.50e+3");
  EXPECT_EQ(value_of(*fields->find("b"), text).text, R"([1,{"a":2}])");
  EXPECT_EQ(value_of(*fields->find("c"), text).text, R"("x\"y")");
  EXPECT_EQ(fields->find("c")->kind, JsonKind::kString);
  EXPECT_EQ(fields->find("d")->kind, JsonKind::kNull);
  EXPECT_EQ(fields->find("e")->kind, JsonKind::kTrue);
  EXPECT_EQ(fields->find("f"), nullptr);
}

TEST(JsonFields, UnescapesKeys) {
  const auto fields = JsonFields::scan(R"({"\u006dod\u0065l":1,"\ud83d\ude00":2})", kDepth);
  ASSERT_TRUE(fields);
  EXPECT_NE(fields->find("model"), nullptr);
  EXPECT_NE(fields->find("\xF0\x9F\x98\x80"), nullptr);
}

TEST(JsonFields, ReportsRepeatedKeysAsTheyStand) {
  const auto fields = JsonFields::scan(R"({"a":1,"a":2})", kDepth);
  ASSERT_TRUE(fields);
  EXPECT_EQ(fields->all().size(), 2U);
}

TEST(JsonFields, CountsTheOutermostObjectAsALevel) {
  EXPECT_TRUE(scans(nested(kDepth - 1)));
  const auto deeper = JsonFields::scan(nested(kDepth), kDepth);
  ASSERT_FALSE(deeper);
  EXPECT_NE(deeper.error().message.find("nested deeper than 64"), std::string::npos);
  EXPECT_FALSE(scans(nested(1000000)));
  EXPECT_FALSE(JsonFields::scan("{}", 0).has_value());
}

TEST(JsonFields, BoundsTheNumberOfMembers) {
  std::string text = "{";
  for (int i = 0; i < 1024; ++i) text += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_FALSE(scans(text + "\"one_more\":0}"));
  text.back() = '}';
  EXPECT_TRUE(scans(text));
}

TEST(JsonFields, NamesTheByteAtFault) {
  const auto fields = JsonFields::scan(R"({"a":tru})", kDepth);
  ASSERT_FALSE(fields);
  EXPECT_EQ(fields.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(fields.error().message.find("at byte 5"), std::string::npos) << fields.error().message;
}

class JsonStrings : public testing::TestWithParam<std::pair<const char*, bool>> {};

TEST_P(JsonStrings, AcceptsOnlyUnicode) {
  // At every offset to a word of eight bytes, since strings are read by words.
  for (std::size_t padding = 0; padding < 9; ++padding) {
    const std::string text =
        "{\"k\":\"" + std::string(padding, 'x') + GetParam().first + "yyyyyyyyy\"}";
    EXPECT_EQ(scans(text), GetParam().second) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, JsonStrings,
    testing::Values(std::pair{"\xC3\xA4", true}, std::pair{"\xE2\x82\xAC", true},
                    std::pair{"\xF0\x9F\x98\x80", true}, std::pair{"\xF4\x8F\xBF\xBF", true},
                    std::pair{R"(\ud83d\ude00)", true}, std::pair{R"(\/\b\f\n\r\t\u00e4)", true},
                    std::pair{"\x7F", true}, std::pair{"\xC0\x80", false},   // overlong
                    std::pair{"\xE0\x80\x80", false},                        // overlong
                    std::pair{"\xF0\x80\x80\x80", false},                    // overlong
                    std::pair{"\xED\xA0\x80", false},                        // a surrogate
                    std::pair{"\xF4\x90\x80\x80", false},                    // above U+10FFFF
                    std::pair{"\xE2\x82", false}, std::pair{"\x80", false},  // torn
                    std::pair{"\xFF", false}, std::pair{R"(\ud83d)", false},
                    std::pair{R"(\ude00)", false}, std::pair{R"(\ud83d\u0041)", false},
                    std::pair{R"(\ud83dx)", false}, std::pair{R"(\x41)", false},
                    std::pair{R"(\u12g4)", false}, std::pair{"\n", false},
                    std::pair{"\x1F", false}));

TEST(JsonFields, RefusesTextThatEndsEarly) {
  const std::string whole = R"({"a":[1.5e3,{"b":"\ud83d\ude00"},true,null],"c":-0})";
  ASSERT_TRUE(scans(whole));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(scans(whole.substr(0, size))) << size;
  }
}

// The corpus speaks of any value; ours reads objects, so each text becomes the value of a member.
TEST(JsonFields, AgreesWithTheParsingCorpus) {
  const char* data = std::getenv("BATON_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "BATON_TEST_DATA is not set: no JSON corpus";
  const auto folder = std::filesystem::path(data) / "corpora/json/test_parsing";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is missing";
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const std::string name = entry.path().filename();
    const bool accepted = scans("{\"v\":" + text + "}");
    if (name.starts_with("y_")) EXPECT_TRUE(accepted) << name;
    if (name.starts_with("n_")) EXPECT_FALSE(accepted || scans(text)) << name;
    // Left open by the RFC: ours takes any number, and refuses what is not UTF-8.
    if (name.starts_with("i_number_")) EXPECT_TRUE(accepted) << name;
    if (name.starts_with("i_string_") || name.starts_with("i_object_")) {
      EXPECT_FALSE(accepted) << name;
    }
    ++files;
  }
  EXPECT_GT(files, 300);
}

std::string random_string(std::mt19937_64& rng) {
  static const std::vector<std::string> kPieces = {"a",    "\"", "\\", "\n",          "ä",
                                                   "\x01", "€",  "😀", "kv_transfer", " , ] } "};
  std::string text;
  for (auto count = rng() % 6; count > 0; --count) text += kPieces[rng() % kPieces.size()];
  return text;
}

Json random_value(std::mt19937_64& rng, int depth) {
  switch (rng() % (depth > 0 ? 8 : 6)) {
    case 0: return nullptr;
    case 1: return rng() % 2 == 0;
    case 2: return static_cast<std::int64_t>(rng());
    case 3: return static_cast<double>(rng()) / 3e7;
    case 4:
    case 5: return random_string(rng);
    case 6: {
      Json array = Json::array();
      for (auto count = rng() % 4; count > 0; --count)
        array.push_back(random_value(rng, depth - 1));
      return array;
    }
    default: {
      Json object = Json::object();
      for (auto count = rng() % 4; count > 0; --count) {
        object[random_string(rng)] = random_value(rng, depth - 1);
      }
      return object;
    }
  }
}

Json random_object(std::mt19937_64& rng) {
  Json object = Json::object();
  for (auto count = rng() % 6; count > 0; --count) {
    object[std::string(1, static_cast<char>('a' + rng() % 8))] = random_value(rng, 3);
  }
  return object;
}

std::string written(const Json& value, std::mt19937_64& rng) {
  return value.dump(rng() % 2 == 0 ? -1 : 2, ' ', rng() % 2 == 0);
}

TEST(JsonPatch, DoesWhatATreeWouldDo) {
  std::mt19937_64 rng(20260117);
  for (int round = 0; round < 5000; ++round) {
    Json object = random_object(rng);
    const std::string text = written(object, rng);
    const auto fields = JsonFields::scan(text, kDepth);
    ASSERT_TRUE(fields) << text;
    JsonPatch patch;
    for (auto count = rng() % 5; count > 0; --count) {
      const std::string key(1, static_cast<char>('a' + rng() % 10));
      if (rng() % 2 == 0) {
        patch.erase(key);
        object.erase(key);
      } else {
        const Json value = random_value(rng, 2);
        patch.set(key, value.dump());
        object[key] = value;
      }
    }
    const std::string patched = patch.apply(text, *fields);
    ASSERT_TRUE(scans(patched)) << text << "\n->\n" << patched;
    // The order of members may differ where one was erased and set again.
    ASSERT_EQ(nlohmann::json::parse(patched), nlohmann::json::parse(object.dump()))
        << text << "\n->\n"
        << patched;
  }
}

TEST(JsonPatch, LeavesEverythingElseByteForByte) {
  const std::string text = R"({ "big":12345678901234567890123 , "stream" :true,"f":1.000 })";
  const auto fields = JsonFields::scan(text, kDepth);
  JsonPatch patch;
  EXPECT_EQ(patch.apply(text, *fields), text);
  patch.set("stream", "false");
  patch.set("new", R"({"x":1})");
  EXPECT_EQ(patch.apply(text, *fields),
            R"({ "big":12345678901234567890123 , "stream" :false,"f":1.000,"new":{"x":1} })");
}

TEST(JsonPatch, ErasesAtEachPlace) {
  const std::string text = R"({"a":1, "b":2, "c":3})";
  const auto fields = JsonFields::scan(text, kDepth);
  const auto without = [&](std::initializer_list<const char*> keys) {
    JsonPatch patch;
    for (const char* key : keys) patch.erase(key);
    return patch.apply(text, *fields);
  };
  EXPECT_EQ(without({"a"}), R"({"b":2, "c":3})");
  EXPECT_EQ(without({"b"}), R"({"a":1, "c":3})");
  EXPECT_EQ(without({"c"}), R"({"a":1, "b":2})");
  EXPECT_EQ(without({"b", "c"}), R"({"a":1})");
  EXPECT_EQ(without({"a", "b", "c"}), "{}");
}

TEST(JsonPatch, LeavesOneOfARepeatedKey) {
  const std::string text = R"({"a":1,"b":2,"a":3})";
  const auto fields = JsonFields::scan(text, kDepth);
  JsonPatch patch;
  patch.set("a", "9");
  EXPECT_EQ(patch.apply(text, *fields), R"({"a":9,"b":2})");
}

TEST(JsonQuote, ReadsBackThroughAnotherParser) {
  std::mt19937_64 rng(3);
  for (int round = 0; round < 2000; ++round) {
    const std::string text = random_string(rng);
    const std::string literal = json_quote(text);
    EXPECT_EQ(Json::parse(literal).get<std::string>(), text);
    EXPECT_EQ(json_unquote(literal), text);
    EXPECT_EQ(json_unquote(Json(text).dump(-1, ' ', true)), text);
  }
}

TEST(JsonQuote, ReplacesWhatIsNoUtf8) {
  EXPECT_EQ(json_quote("a\xFFz\xE2\x82"), R"("a\ufffdz\ufffd\ufffd")");
}

TEST(JsonCursor, WalksLikeATree) {
  std::mt19937_64 rng(11);
  for (int round = 0; round < 2000; ++round) {
    const Json object = random_object(rng);
    const std::string text = written(object, rng);
    JsonCursor cursor({JsonKind::kObject, text});
    for (const auto& [key, value] : object.items()) {
      ASSERT_TRUE(cursor.next());
      EXPECT_EQ(cursor.key(), key);
      EXPECT_EQ(Json::parse(cursor.value().text), value);
      if (!value.is_array()) continue;
      JsonCursor inner(cursor.value());
      for (const Json& element : value) {
        ASSERT_TRUE(inner.next());
        EXPECT_EQ(Json::parse(inner.value().text), element);
      }
      EXPECT_FALSE(inner.next());
    }
    EXPECT_FALSE(cursor.next());
  }
}

}  // namespace
}  // namespace baton
