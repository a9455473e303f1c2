// Animates a source with the engines of a bundle: no Python, no library but CUDA and TensorRT. See README.md.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "animator.hpp"
#include "error.hpp"
#include "npy.hpp"
#include "plans.hpp"
#include "png.hpp"
#include "tensorrt_versions.hpp"

namespace fs = std::filesystem;

namespace sample {
namespace {

constexpr char kUsage[] =
    "usage: hidenerf_sample BUNDLE INPUTS OUTPUT [--plugin LIBRARY] [--alpha] [--replays N]\n"
    "\n"
    "  BUNDLE            a bundle with engines for this TensorRT and GPU, or a folder of plans\n"
    "  INPUTS            what prepare_inputs.py wrote for this bundle\n"
    "  OUTPUT            folder of the frames, 000000.png and so on\n"
    "  --plugin LIBRARY  libhidenerf_plugin.so, for plans that need it and do not carry it\n"
    "  --alpha           also write the head's opacity, 000000.alpha.png and so on\n"
    "  --replays N       how often the last frame is rendered again to be timed (1000)\n";
constexpr int kWarmUp = 20;
constexpr char kPluginFile[] = "libhidenerf_plugin.so";

struct Options {
    fs::path bundle, inputs, output, plugin;
    bool alpha = false, help = false;
    int replays = 1000;
};

Options parse(std::vector<std::string> const& arguments) {
    Options options;
    std::vector<std::string> paths;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        std::string const& argument = arguments[i];
        const auto value = [&]() -> std::string const& {
            if (++i == arguments.size()) throw Error(argument + " needs a value; see --help.");
            return arguments[i];
        };
        if (argument == "--help") {
            options.help = true;
            return options;
        }
        if (argument == "--alpha") {
            options.alpha = true;
        } else if (argument == "--plugin") {
            options.plugin = value();
        } else if (argument == "--replays") {
            std::string const& text = value();
            const auto end = text.data() + text.size();
            const auto [stop, failed] = std::from_chars(text.data(), end, options.replays);
            if (failed != std::errc() || stop != end || options.replays < 1)
                throw Error("--replays " + text + ": give a whole number from 1 on.");
        } else if (argument.rfind("--", 0) == 0) {
            throw Error("There is no option " + argument + "; see --help.");
        } else {
            paths.push_back(argument);
        }
    }
    if (paths.size() != 3) throw Error("Give three folders, BUNDLE INPUTS OUTPUT; see --help.");
    options.bundle = paths[0], options.inputs = paths[1], options.output = paths[2];
    return options;
}

// NAME.npy of every tensor. Errors: those of `read_npy`, and another type or shape than the engines'.
Arrays read_arrays(fs::path const& folder, Specs const& specs) {
    Arrays arrays;
    for (auto const& [name, spec] : specs) {
        const fs::path path = folder / (name + ".npy");
        Array array = read_npy(path);
        if (array.spec != spec)
            throw Error(path.string() + ": is " + array.spec.text() + " where the engines need " + spec.text() +
                        "; prepare the inputs with the same bundle.");
        arrays.emplace(name, std::move(array));
    }
    return arrays;
}

// "000012"
std::string numbered(int index) {
    const std::string digits = std::to_string(index);
    return std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') + digits;
}

void write_frame(Animator const& animator, fs::path const& output, int index, bool with_alpha) {
    const int height = static_cast<int>(animator.frame_spec().shape[0]);
    const int width = static_cast<int>(animator.frame_spec().shape[1]);
    write_png(output / (numbered(index) + ".png"), width, height, 3,
              static_cast<std::uint8_t const*>(animator.frame()));
    if (!with_alpha) return;
    const auto* alpha = static_cast<float const*>(animator.alpha());
    std::vector<std::uint8_t> grey(static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
    std::transform(alpha, alpha + grey.size(), grey.begin(),
                   [](float a) { return static_cast<std::uint8_t>(std::clamp(a, 0.0f, 1.0f) * 255.0f + 0.5f); });
    write_png(output / (numbered(index) + ".alpha.png"), width, height, 1, grey.data());
}

// Milliseconds on the host's clock of one launch of the CUDA graph, with what it copies from and to the host.
void print_times(Animator& animator, int replays) {
    using Clock = std::chrono::steady_clock;
    std::vector<double> milliseconds;
    for (int i = -kWarmUp; i < replays; ++i) {
        const Clock::time_point start = Clock::now();
        animator.replay();
        const std::chrono::duration<double, std::milli> took = Clock::now() - start;
        if (i >= 0) milliseconds.push_back(took.count());
    }
    std::sort(milliseconds.begin(), milliseconds.end());
    const auto percentile = [&](std::size_t percent) {
        return milliseconds[(milliseconds.size() - 1) * percent / 100];
    };
    std::printf("frame: median %.4f ms, p99 %.4f ms of %d replays of its CUDA graph\n", percentile(50), percentile(99),
                replays);
}

void run(Options options) {
    const int sm = open_gpu();
    const fs::path plans = find_plans(options.bundle, tensorrt_version(), sm);
    // hidenerf-export puts the plugin beside plans that need it and do not carry it.
    if (options.plugin.empty() && fs::exists(plans / kPluginFile)) options.plugin = plans / kPluginFile;
    Animator animator(plans, options.plugin);
    std::string names;
    for (Engine const& engine : animator.engines()) names += (names.empty() ? "" : ", ") + engine.name();
    std::printf("TensorRT %s, SM %d: %s\n", tensorrt_version().c_str(), sm, names.c_str());

    animator.set_source(read_arrays(options.inputs / "source", animator.source_inputs()));
    std::error_code failed;
    fs::create_directories(options.output, failed);
    if (failed) throw Error(options.output.string() + ": cannot make this folder; choose another output.");
    int frames = 0;
    for (fs::path folder; fs::is_directory(folder = options.inputs / "frames" / numbered(frames)); ++frames) {
        animator.render(read_arrays(folder, animator.frame_inputs()));
        write_frame(animator, options.output, frames, options.alpha);
    }
    if (frames == 0)
        throw Error(options.inputs.string() + ": it has no frames/000000; write one with prepare_inputs.py.");
    std::printf("%d frames written to %s\n", frames, options.output.c_str());
    print_times(animator, options.replays);
}

}  // namespace
}  // namespace sample

int main(int count, char** arguments) {
    try {
        const sample::Options options = sample::parse({arguments + 1, arguments + count});
        if (options.help)
            std::fputs(sample::kUsage, stdout);
        else
            sample::run(options);
        return 0;
    } catch (std::exception const& error) {
        std::fprintf(stderr, "hidenerf_sample: %s\n", error.what());
        return 2;
    }
}
