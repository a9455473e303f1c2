#include "animator.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "error.hpp"

namespace sample {
namespace {

constexpr char kSourceEncoder[] = "source_encoder";
constexpr std::array<char const*, 2> kFrameEngines = {"led", "renderer_refiner"};
constexpr std::array<char const*, 3> kFrameInputs = {"secc_driving", "camera", "face_sight"};
constexpr std::array<char const*, 2> kFrameOutputs = {"frame", "alpha"};
// Runs before the capture: the first loads kernels, and plans what is planned late.
constexpr int kTrialRuns = 2;

bool is_frame_input(std::string const& name) {
    return std::find(kFrameInputs.begin(), kFrameInputs.end(), name) != kFrameInputs.end();
}

void require(Arrays const& given, Specs const& needed) {
    for (auto const& [name, spec] : needed) {
        const auto found = given.find(name);
        if (found == given.end()) throw Error("The tensor " + name + " is missing; the engines need it.");
        if (found->second.spec != spec)
            throw Error(name + " is " + found->second.spec.text() + " where the engines need " + spec.text() +
                        "; prepare the inputs with the same bundle.");
    }
}

}  // namespace

Animator::Animator(std::filesystem::path const& plans, std::filesystem::path const& plugin)
    : stream_(make_stream()), side_stream_(make_stream()), forked_(make_event()), joined_(make_event()) {
    const auto open = [&](char const* graph) {
        engines_.emplace_back(graph, plans / (std::string(graph) + ".plan"), plugin);
    };
    if (std::filesystem::exists(plans / (std::string(kSourceEncoder) + ".plan"))) open(kSourceEncoder);
    for (char const* graph : kFrameEngines) open(graph);
    share_tensors();
}

void Animator::share_tensors() {
    std::map<std::string, void*> addresses;
    std::size_t most = 0;
    for (Engine const& engine : engines_) {
        most = std::max(most, engine.working_bytes());
        for (Specs const* tensors : {&engine.inputs(), &engine.outputs()}) {
            for (auto const& [name, spec] : *tensors) {
                const auto known = specs_.emplace(name, spec).first;
                if (known->second != spec)
                    throw Error("The engines do not fit together: " + name + " is " + known->second.text() + " and " +
                                spec.text() + "; build all of them from one bundle.");
                if (memory_.count(name) == 0) memory_.emplace(name, allocate(spec.bytes()));
                addresses[name] = memory_.at(name).get();
            }
        }
        // What no engine before this one makes has to be given.
        for (auto const& [name, spec] : engine.inputs()) {
            const bool made = std::any_of(engines_.begin(), engines_.end(),
                                          [&](Engine const& other) { return other.outputs().count(name) > 0; });
            if (!made) (is_frame_input(name) ? frame_inputs_ : source_inputs_).emplace(name, spec);
        }
    }
    for (char const* name : kFrameOutputs)
        if (specs_.count(name) == 0) throw Error(std::string("No engine makes ") + name + "; build all of them again.");
    TensorSpec const &frame = frame_spec(), &alpha = alpha_spec();
    if (frame.type != Type::kUint8 || frame.shape.size() != 3 || frame.shape[2] != 3 || alpha.type != Type::kFp32 ||
        alpha.shape != std::vector<std::int64_t>{frame.shape[0], frame.shape[1]})
        throw Error("The engines make a frame " + frame.text() + " and alpha " + alpha.text() +
                    ", not UINT8 [S, S, 3] and FP32 [S, S]; build all of them again.");
    for (auto const& [name, spec] : frame_inputs_) host_.emplace(name, allocate_host(spec.bytes()));
    for (char const* name : kFrameOutputs) host_.emplace(name, allocate_host(specs_.at(name).bytes()));
    // One engine runs at a time, so all share one block of working memory.
    activations_ = allocate(most);
    for (Engine& engine : engines_) engine.bind(addresses, activations_.get(), most);
}

void Animator::set_source(Arrays const& arrays) {
    require(arrays, source_inputs_);
    for (auto const& [name, spec] : source_inputs_)
        check(cudaMemcpyAsync(memory_.at(name).get(), arrays.at(name).bytes.data(), spec.bytes(),
                              cudaMemcpyHostToDevice, stream_.get()));
    if (engines_.front().name() == kSourceEncoder) engines_.front().enqueue(stream_.get());
    check(cudaStreamSynchronize(stream_.get()));
}

void Animator::render(Arrays const& arrays) {
    require(arrays, frame_inputs_);
    for (auto const& [name, spec] : frame_inputs_)
        std::memcpy(host_.at(name).get(), arrays.at(name).bytes.data(), spec.bytes());
    if (captured_ == nullptr) capture_frame();
    replay();
}

void Animator::replay() {
    check(cudaGraphLaunch(captured_.get(), stream_.get()));
    check(cudaStreamSynchronize(stream_.get()));
}

void Animator::capture_frame() {
    for (int run = 0; run < kTrialRuns; ++run) enqueue_frame();
    check(cudaStreamSynchronize(stream_.get()));
    const auto* first = static_cast<std::uint8_t const*>(frame());
    const std::vector<std::uint8_t> expected(first, first + frame_spec().bytes());
    captured_ = capture(stream_.get(), [this] { enqueue_frame(); });
    replay();
    if (std::memcmp(expected.data(), frame(), expected.size()) != 0)
        throw Error("A launch of the CUDA graph gives another frame than the engines alone; update the GPU's driver.");
}

// From the inputs on the host to the frame on the host. LED does not read the face sight, which a second stream uploads
// beside it.
void Animator::enqueue_frame() {
    cudaStream_t stream = stream_.get(), side = side_stream_.get();
    Engine& led = engines_[engines_.size() - 2];
    check(cudaEventRecord(forked_.get(), stream));
    check(cudaStreamWaitEvent(side, forked_.get(), 0));
    for (auto const& [name, spec] : frame_inputs_) upload(name, led.inputs().count(name) > 0 ? stream : side);
    check(cudaEventRecord(joined_.get(), side));
    led.enqueue(stream);
    check(cudaStreamWaitEvent(stream, joined_.get(), 0));
    engines_.back().enqueue(stream);
    for (char const* name : kFrameOutputs)
        check(cudaMemcpyAsync(host_.at(name).get(), memory_.at(name).get(), specs_.at(name).bytes(),
                              cudaMemcpyDeviceToHost, stream));
}

void Animator::upload(std::string const& name, cudaStream_t stream) {
    check(cudaMemcpyAsync(memory_.at(name).get(), host_.at(name).get(), specs_.at(name).bytes(), cudaMemcpyHostToDevice,
                          stream));
}

}  // namespace sample
