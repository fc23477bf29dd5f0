#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "adapters/engines/llama_cpp/make_model.h"

namespace baton::adapters {

// A folder that goes when the test ends.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "baton-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data()) == nullptr ? "" : pattern;
    EXPECT_FALSE(path_.empty());
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The generated model in a folder of its own.
struct MadeModelFiles {
  ScratchFolder folder;
  MadeModel files;

  MadeModelFiles() {
    const auto made = make_model(folder.path(), 0);
    EXPECT_TRUE(made.has_value());
    if (made) files = *made;
  }
};

}  // namespace baton::adapters
