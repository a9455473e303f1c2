#include "plans.hpp"

#include <vector>

#include "error.hpp"

namespace sample {
namespace {

bool is_for(std::string const& folder, std::string const& version, int sm) {
    const std::string begin = "tensorrt-" + version, end = "-sm" + std::to_string(sm);
    if (folder.size() < begin.size() + end.size()) return false;
    if (folder.compare(0, begin.size(), begin) != 0) return false;
    if (folder.compare(folder.size() - end.size(), end.size(), end) != 0) return false;
    return folder[begin.size()] == '.' || folder.size() == begin.size() + end.size();
}

}  // namespace

std::filesystem::path find_plans(std::filesystem::path const& bundle, std::string const& version, int sm) {
    namespace fs = std::filesystem;
    if (!fs::is_directory(bundle))
        throw Error(bundle.string() + ": no such folder; give a bundle, or a folder of plans.");
    const fs::path sets = bundle / "engines";
    if (!fs::exists(bundle / "manifest.json")) return bundle;
    std::vector<fs::path> found;
    std::string others;
    if (fs::is_directory(sets)) {
        for (fs::directory_entry const& set : fs::directory_iterator(sets)) {
            if (!set.is_directory()) continue;
            const std::string name = set.path().filename().string();
            if (is_for(name, version, sm)) found.push_back(set.path());
            others += (others.empty() ? "" : ", ") + name;
        }
    }
    const std::string wanted = "TensorRT " + version + " and SM " + std::to_string(sm);
    if (found.empty())
        throw Error(bundle.string() + ": it has no engines for " + wanted + (others.empty() ? "" : ", only " + others) +
                    "; build them with: hidenerf-export " + bundle.string() + " --backend tensorrt");
    if (found.size() > 1) throw Error(sets.string() + ": several folders are for " + wanted + "; give one of them.");
    return found.front();
}

}  // namespace sample
