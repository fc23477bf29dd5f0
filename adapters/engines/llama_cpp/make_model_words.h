#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace baton::adapters {

// Part of speech of a token in the generated model's grammar. Which part may follow which is
// written into the output matrix, so that greedy text reads as sentences.
enum class WordClass : std::uint8_t {
  kOther,    // bytes, word beginnings, control tokens; like a full stop, a sentence may follow
  kNewline,  // "\n": an answer begins without a space
  kOpening,  // "The", at the very start
  kStart,    // " The"
  kSubjectAdjective,
  kSubject,
  kAdverb,
  kVerb,
  kArticle,
  kObjectAdjective,
  kObject,
  kPreposition,
  kConjunction,
  kStop,
  kExclamation,
  kEnd,  // <|im_end|>
  kCount,
};
inline constexpr std::size_t kWordClasses = static_cast<std::size_t>(WordClass::kCount);

struct WordList {
  WordClass word_class;
  std::span<const std::string_view> words;  // written with their leading space
};

inline constexpr std::string_view kOpeningWords[] = {"The",  "This", "One", "Every",
                                                     "Some", "That", "No",  "Each"};
inline constexpr std::string_view kStartWords[] = {" The",  " Any",  " One",     " Every", " Some",
                                                   " That", " This", " Another", " Each",  " No"};
inline constexpr std::string_view kSubjectAdjectiveWords[] = {
    " old",   " young",   " patient", " clever",   " quiet",    " hungry", " careful", " proud",
    " weary", " curious", " gentle",  " honest",   " stubborn", " lonely", " merry",   " nervous",
    " brave", " sleepy",  " polite",  " restless", " famous",   " modest", " silent",  " cheerful"};
inline constexpr std::string_view kSubjectWords[] = {
    " sailor",  " baker",    " fox",      " runner", " gardener", " crow",    " painter", " miller",
    " teacher", " wolf",     " pilot",    " farmer", " singer",   " owl",     " smith",   " doctor",
    " child",   " traveler", " king",     " weaver", " otter",    " captain", " student", " judge",
    " hunter",  " heron",    " courier",  " poet",   " engineer", " cat",     " dancer",  " clerk",
    " sister",  " uncle",    " shepherd", " badger", " neighbor", " guard",   " drummer", " widow"};
inline constexpr std::string_view kAdverbWords[] = {
    " slowly", " often", " never",  " gladly", " quickly", " always",  " softly", " rarely",
    " soon",   " still", " almost", " barely", " simply",  " eagerly", " calmly", " twice"};
inline constexpr std::string_view kVerbWords[] = {
    " carries",   " finds",  " paints",  " follows",   " repairs", " watches",  " hides",
    " opens",     " sells",  " borrows", " counts",    " crosses", " forgets",  " measures",
    " builds",    " chases", " guards",  " remembers", " draws",   " polishes", " visits",
    " describes", " loses",  " trades",  " keeps",     " lifts",   " studies",  " admires",
    " throws",    " brings", " wants",   " breaks",    " cleans",  " collects", " fills",
    " gathers",   " moves",  " names",   " sorts",     " reads"};
inline constexpr std::string_view kArticleWords[] = {" the",  " this",    " every", " my",
                                                     " that", " another", " our",   " some"};
inline constexpr std::string_view kObjectAdjectiveWords[] = {
    " bright", " wooden", " narrow",  " heavy",   " golden", " broken",  " distant", " empty",
    " green",  " frozen", " round",   " little",  " copper", " ancient", " dusty",   " warm",
    " silver", " hollow", " painted", " crooked", " plain",  " striped", " smooth",  " tall"};
inline constexpr std::string_view kObjectWords[] = {
    " river",   " lantern", " bridge",  " harbor",  " letter",   " garden", " window", " mountain",
    " kettle",  " boat",    " basket",  " road",    " clock",    " forest", " tower",  " blanket",
    " bell",    " market",  " stone",   " field",   " candle",   " door",   " ladder", " orchard",
    " map",     " wheel",   " island",  " feather", " barrel",   " coat",   " valley", " mirror",
    " kitchen", " hammer",  " village", " piano",   " umbrella", " wall",   " ribbon", " station"};
inline constexpr std::string_view kPrepositionWords[] = {
    " near",   " under", " behind",  " beyond", " inside", " across",
    " before", " above", " without", " beside", " from",   " after"};
inline constexpr std::string_view kConjunctionWords[] = {" and", " but", " then", " or"};
inline constexpr std::string_view kStopWords[] = {"."};
inline constexpr std::string_view kExclamationWords[] = {"!"};

inline constexpr std::array<WordList, 13> kWordLists = {{
    {WordClass::kOpening, kOpeningWords},
    {WordClass::kStart, kStartWords},
    {WordClass::kSubjectAdjective, kSubjectAdjectiveWords},
    {WordClass::kSubject, kSubjectWords},
    {WordClass::kAdverb, kAdverbWords},
    {WordClass::kVerb, kVerbWords},
    {WordClass::kArticle, kArticleWords},
    {WordClass::kObjectAdjective, kObjectAdjectiveWords},
    {WordClass::kObject, kObjectWords},
    {WordClass::kPreposition, kPrepositionWords},
    {WordClass::kConjunction, kConjunctionWords},
    {WordClass::kStop, kStopWords},
    {WordClass::kExclamation, kExclamationWords},
}};

// `next` may follow `previous`; `penalty` is taken off its weight, so that it does so more rarely.
struct GrammarRule {
  WordClass previous;
  WordClass next;
  float penalty = 0.0F;
};

inline constexpr GrammarRule kGrammar[] = {
    {WordClass::kOther, WordClass::kStart},
    {WordClass::kNewline, WordClass::kOpening},
    {WordClass::kOpening, WordClass::kSubject},
    {WordClass::kOpening, WordClass::kSubjectAdjective},
    {WordClass::kStart, WordClass::kSubject},
    {WordClass::kStart, WordClass::kSubjectAdjective},
    {WordClass::kSubjectAdjective, WordClass::kSubject},
    {WordClass::kSubject, WordClass::kVerb},
    {WordClass::kSubject, WordClass::kAdverb},
    {WordClass::kAdverb, WordClass::kVerb},
    {WordClass::kVerb, WordClass::kArticle},
    {WordClass::kArticle, WordClass::kObject},
    {WordClass::kArticle, WordClass::kObjectAdjective},
    {WordClass::kObjectAdjective, WordClass::kObject},
    {WordClass::kObject, WordClass::kPreposition, 4.0F},
    {WordClass::kObject, WordClass::kConjunction, 3.0F},
    {WordClass::kObject, WordClass::kStop},
    {WordClass::kObject, WordClass::kExclamation, 8.0F},
    {WordClass::kPreposition, WordClass::kArticle},
    {WordClass::kConjunction, WordClass::kVerb},
    {WordClass::kStop, WordClass::kStart},
    {WordClass::kStop, WordClass::kEnd, 1.0F},
    {WordClass::kExclamation, WordClass::kStart},
    {WordClass::kEnd, WordClass::kStart},
};

}  // namespace baton::adapters
