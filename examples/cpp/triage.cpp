/*
 * Sorts what patients say into emergency, urgent and routine, and gives a sentence of advice on each: statements from the
 * command line, or one a line from the input. Ctrl-C stops an answer; while none is made it ends the program.
 *
 *     c++ -std=c++17 -Iffi/include examples/cpp/triage.cpp -Ltarget/release -ledgeslm -o triage
 *     ./triage MODEL_DIRECTORY [--max-tokens N] [--statement TEXT]...
 *
 * It shows how to use the library, not how to do medicine.
 */
#include <edgeslm.hpp>

#include <atomic>
#include <csignal>
#include <iomanip>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Messages = std::vector<edgeslm::Message>;

const std::vector<std::string> labels = {"emergency", "urgent", "routine"};

// Each conversation begins the same every time, so that a statement costs its own tokens only.
const Messages triage = {
    {"system", "You sort what patients say. Answer with one word: emergency, urgent or routine."},
    {"user", "My uncle collapsed and he is not breathing."},
    {"assistant", "emergency"},
    {"user", "I have had a fever of 39 and a sore throat since yesterday."},
    {"assistant", "urgent"},
    {"user", "I'd like to move my check-up to next month."},
    {"assistant", "routine"},
};
const Messages advice = {
    {"system", "You help the receptionist of a clinic. Say in one short sentence what to do next."},
    {"user", "emergency: My uncle collapsed and he is not breathing."},
    {"assistant", "Call an ambulance at once and fetch the defibrillator."},
    {"user", "routine: I'd like to move my check-up to next month."},
    {"assistant", "Book a new date next month."},
};

Messages with(Messages messages, std::string statement) {
    messages.push_back({"user", std::move(statement)});
    return messages;
}

// The flag of the answer that is being made.
std::atomic<const edgeslm::Cancel *> answering{nullptr};

extern "C" void on_interrupt(int signal_number) {
    if (const edgeslm::Cancel *cancel = answering) {
        cancel->signal();
    } else {
        std::signal(signal_number, SIG_DFL);
        std::raise(signal_number);
    }
}

// A piece of an answer on one line, without what a terminal would obey.
std::string printable(std::string_view text) {
    std::string result;
    for (size_t i = 0; i < text.size(); i++) {
        const auto byte = static_cast<unsigned char>(text[i]);
        // U+0080 to U+009F are control characters too.
        const bool wide = byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0;
        result += wide || byte < ' ' || byte == 0x7f ? ' ' : text[i];
        i += wide ? 1 : 0;
    }
    return result;
}

class Kiosk {
  public:
    Kiosk(const edgeslm::Model &model, uint32_t max_tokens) : triage_(model.session()), advice_(model.session()) {
        generate_.max_tokens = max_tokens;
        generate_.stop = {"\n"};
        generate_.cancel = classify_.cancel = cancel_;
    }

    // Prints a line on a statement; an interrupt gives up on it alone.
    void handle(const std::string &statement) {
        if (statement.empty()) return;
        cancel_.reset();
        answering = &cancel_;
        try {
            look_at(statement);
            answering = nullptr;
        } catch (const edgeslm::Error &error) {
            answering = nullptr;
            if (error.status() != SLM_CANCELLED) throw;
            std::cout << "(stopped)";
        }
        std::cout << std::endl;
    }

  private:
    void look_at(const std::string &statement) {
        const auto result = triage_.classify(with(triage, statement), labels, classify_);
        const std::string &label = labels[result.index];
        std::cout << std::left << std::setw(9) << label << ' ' << std::fixed << std::setprecision(3)
                  << result.probabilities[result.index] << ' ' << std::flush;
        auto answer = advice_.chat(with(advice, label + ": " + statement), generate_);
        for (std::string_view text : answer) std::cout << printable(text) << std::flush;
        if (answer.finish_reason() == SLM_FINISH_CANCELLED) std::cout << " (stopped)";
    }

    edgeslm::Session triage_, advice_;
    edgeslm::Cancel cancel_;
    edgeslm::GenerateOptions generate_;
    edgeslm::ClassifyOptions classify_;
};

} // namespace

int main(int argc, char **argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    std::vector<std::string> statements;
    uint32_t max_tokens = 32;
    bool usage = arguments.empty() || arguments.size() % 2 == 0;
    for (size_t i = 1; !usage && i < arguments.size(); i += 2) {
        if (arguments[i] == "--statement") statements.push_back(arguments[i + 1]);
        else if (arguments[i] == "--max-tokens") max_tokens = static_cast<uint32_t>(std::stoul(arguments[i + 1]));
        else usage = true;
    }
    if (usage) {
        std::cerr << "usage: triage MODEL_DIRECTORY [--max-tokens N] [--statement TEXT]...\n";
        return 1;
    }
    try {
        Kiosk kiosk(edgeslm::Model::load(arguments[0]), max_tokens);
        std::signal(SIGINT, on_interrupt);
        for (const std::string &statement : statements) kiosk.handle(statement);
        for (std::string line; statements.empty() && std::getline(std::cin, line);) {
            if (!line.empty() && line.back() == '\r') line.pop_back();
            kiosk.handle(line);
        }
    } catch (const std::exception &error) {
        std::cerr << "error: " << error.what() << '\n';
        return 1;
    }
}
