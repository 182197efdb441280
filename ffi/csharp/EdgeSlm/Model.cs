using System;
using System.Collections.Generic;
using System.Threading;

namespace EdgeSlm
{
    /// <summary>How a text becomes tokens.</summary>
    public enum TokenizeMode
    {
        /// <summary>As a raw prompt: with the token that begins a text.</summary>
        Prompt = 0,
        /// <summary>Nothing is added; special tokens that the text spells out are recognised.</summary>
        Continuation = 1,
        /// <summary>Nothing is added, and special tokens that the text spells out stay text.</summary>
        Plain = 2,
    }

    /// <summary>A loaded model. Any number of threads may use it; its sessions keep it loaded.</summary>
    public sealed unsafe class Model : IDisposable
    {
        private readonly NativeHandle handle;

        private Model(IntPtr value)
        {
            handle = new NativeHandle(value, NativeMethods.ModelFree);
        }

        /// <summary>The library's version.</summary>
        public static string LibraryVersion => Interop.Text(NativeMethods.Version());

        /// <summary>What the library is and can do on this machine, as a JSON object.</summary>
        public static string BuildInfo => Interop.Text(NativeMethods.BuildInfo());

        /// <summary>Loads the model in a directory: one in the layout of the ONNX Runtime GenAI builder or of transformers.js.</summary>
        /// <exception cref="SlmException">The model cannot be loaded.</exception>
        public static Model Load(string directory, ModelOptions options = null)
        {
            using (var arena = new Arena())
            {
                var path = arena.Required(directory, nameof(directory));
                IntPtr model, error;
                var native = (options ?? new ModelOptions()).ToNative(arena);
                Interop.Check(NativeMethods.ModelLoad(path.Data, path.Length, native, &model, &error), error);
                return new Model(model);
            }
        }

        /// <summary>Loads a model whose files <paramref name="source"/> reads. What the source throws is thrown again.</summary>
        /// <exception cref="SlmException">The model cannot be loaded.</exception>
        public static Model LoadFrom(IModelSource source, ModelOptions options = null)
        {
            if (source == null) throw new ArgumentNullException(nameof(source));
            using (var arena = new Arena())
            {
                var native = (IntPtr)(options ?? new ModelOptions()).ToNative(arena);
                Model loaded = null;
                SourceReader.Use(source, callbacks =>
                {
                    IntPtr model, error;
                    Interop.Check(NativeMethods.ModelLoadFrom((NativeMethods.Source*)callbacks, (NativeMethods.ModelOptions*)native, &model,
                        &error), error);
                    loaded = new Model(model);
                });
                return loaded;
            }
        }

        /// <summary>What loading and a session of <paramref name="positions"/> tokens would take, without loading.</summary>
        /// <exception cref="SlmException">The model cannot be read.</exception>
        public static MemoryEstimate Estimate(string directory, ulong positions, ModelOptions options = null)
        {
            using (var arena = new Arena())
            {
                var path = arena.Required(directory, nameof(directory));
                NativeMethods.Estimate estimate;
                IntPtr error;
                var native = (options ?? new ModelOptions()).ToNative(arena);
                Interop.Check(NativeMethods.ModelEstimate(path.Data, path.Length, native, positions, &estimate,
                    (UIntPtr)sizeof(NativeMethods.Estimate), &error), error);
                return new MemoryEstimate(estimate);
            }
        }

        /// <summary>A conversation with an empty KV cache.</summary>
        public Session NewSession(SessionOptions options = null)
        {
            var vocabularySize = VocabularySize;
            using (var arena = new Arena())
            {
                var native = (IntPtr)(options ?? new SessionOptions()).ToNative(arena);
                var session = handle.Use(model =>
                {
                    IntPtr result, error;
                    Interop.Check(NativeMethods.SessionNew(model, (NativeMethods.SessionOptions*)native, &result, &error), error);
                    return result;
                });
                return new Session(session, vocabularySize);
            }
        }

        /// <summary>Reads a calibration that was made for this model, such as <c>edgeslm calibrate</c> writes.
        /// <paramref name="prompt"/> identifies the form of the prompts that it is for; empty takes one for any.</summary>
        /// <exception cref="SlmException">It is damaged, or for another model or prompt.</exception>
        public Calibration LoadCalibration(string path, string prompt = "")
        {
            using (var arena = new Arena())
            {
                NativeMethods.Str file = arena.Required(path, nameof(path)), form = arena.Text(prompt);
                return new Calibration(handle.Use(model =>
                {
                    IntPtr calibration, error;
                    Interop.Check(NativeMethods.CalibrationLoad(model, file.Data, file.Length, form.Data, form.Length, &calibration,
                        &error), error);
                    return calibration;
                }));
            }
        }

        /// <summary>Reads a calibration from the text of its file.</summary>
        /// <exception cref="SlmException">It is damaged, or for another model or prompt.</exception>
        public Calibration ParseCalibration(string json, string prompt = "")
        {
            using (var arena = new Arena())
            {
                NativeMethods.Str text = arena.Required(json, nameof(json)), form = arena.Text(prompt);
                return new Calibration(handle.Use(model =>
                {
                    IntPtr calibration, error;
                    Interop.Check(NativeMethods.CalibrationParse(model, text.Data, text.Length, form.Data, form.Length, &calibration,
                        &error), error);
                    return calibration;
                }));
            }
        }

        /// <summary>Learns from labelled prompts what the scores of labels mean, and which decisions to leave to a person.
        /// <paramref name="session"/> is one of this model; the first labels are those of the classes, further ones are words that only
        /// help; <paramref name="prompt"/> is any text that identifies the form of the prompts.</summary>
        /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
        public Calibration Calibrate(Session session, IReadOnlyList<string> classes, IReadOnlyList<string> labels,
            IReadOnlyList<LabelledPrompt> examples, string prompt, CalibrationOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            if (session == null) throw new ArgumentNullException(nameof(session));
            if (examples == null) throw new ArgumentNullException(nameof(examples));
            options = options ?? new CalibrationOptions();
            using (var arena = new Arena())
            {
                var native = (NativeMethods.CalibrationOptions*)arena.Zeroed(1, sizeof(NativeMethods.CalibrationOptions));
                IntPtr error;
                Interop.Check(
                    NativeMethods.CalibrationOptionsInit(native, (UIntPtr)sizeof(NativeMethods.CalibrationOptions), &error), error);
                native->Score = (int)options.Score;
                native->Risk = options.Risk;
                native->Confidence = options.Confidence;
                var list = (NativeMethods.LabelledPrompt*)arena.Zeroed(examples.Count, sizeof(NativeMethods.LabelledPrompt));
                for (var i = 0; i < examples.Count; i++)
                {
                    var example = examples[i] ?? throw new ArgumentNullException(nameof(examples));
                    list[i].Prompt = arena.Required(example.Prompt, nameof(examples));
                    list[i].ClassIndex = (UIntPtr)example.ClassIndex;
                }
                var form = arena.Text(prompt);
                var pointers = (Classes: (IntPtr)arena.Texts(classes, nameof(classes)), Labels: (IntPtr)arena.Texts(labels, nameof(labels)),
                    Examples: (IntPtr)list, Options: (IntPtr)native);
                return new Calibration(session.Cancellable(cancellationToken, (conversation, flag) => handle.Use(model =>
                {
                    IntPtr calibration, failure;
                    ((NativeMethods.CalibrationOptions*)pointers.Options)->Cancel = flag;
                    Interop.Check(NativeMethods.CalibrationFit(model, conversation, form.Data, form.Length,
                        (NativeMethods.Str*)pointers.Classes, (UIntPtr)classes.Count, (NativeMethods.Str*)pointers.Labels,
                        (UIntPtr)labels.Count, (NativeMethods.LabelledPrompt*)pointers.Examples, (UIntPtr)examples.Count,
                        (NativeMethods.CalibrationOptions*)pointers.Options, &calibration, &failure), failure);
                    return calibration;
                })));
            }
        }

        /// <summary>A grammar for answers of the model.</summary>
        /// <exception cref="SlmException">The source is damaged, cannot be satisfied or is beyond the limits.</exception>
        public Grammar NewGrammar(GrammarKind kind, string source)
        {
            using (var arena = new Arena())
            {
                var text = arena.Required(source, nameof(source));
                return new Grammar(handle.Use(model =>
                {
                    IntPtr grammar, error;
                    Interop.Check(NativeMethods.GrammarNew(model, (int)kind, text.Data, text.Length, &grammar, &error), error);
                    return grammar;
                }));
            }
        }

        /// <summary>A grammar of which the answers are these texts and no others.</summary>
        /// <exception cref="SlmException">There are no choices, or too many.</exception>
        public Grammar NewGrammar(IReadOnlyList<string> choices)
        {
            using (var arena = new Arena())
            {
                var list = (IntPtr)arena.Texts(choices, nameof(choices));
                return new Grammar(handle.Use(model =>
                {
                    IntPtr grammar, error;
                    Interop.Check(NativeMethods.GrammarChoices(model, (NativeMethods.Str*)list, (UIntPtr)choices.Count, &grammar, &error),
                        error);
                    return grammar;
                }));
            }
        }

        /// <summary>
        /// An extractor of the fields that a JSON schema of an object names under <c>properties</c>. The examples show the model texts
        /// and what is wanted of them; the instructions are what it is asked, empty for the usual words.
        /// </summary>
        /// <exception cref="SlmException">The schema cannot be used.</exception>
        public Extractor NewExtractor(string schema, IReadOnlyList<ExtractionExample> examples = null, string instructions = "")
        {
            using (var arena = new Arena())
            {
                var text = arena.Required(schema, nameof(schema));
                var words = arena.Text(instructions);
                var count = examples == null ? 0 : examples.Count;
                var list = (NativeMethods.Example*)arena.Zeroed(count, sizeof(NativeMethods.Example));
                for (var i = 0; i < count; i++)
                {
                    var example = examples[i] ?? throw new ArgumentNullException(nameof(examples));
                    list[i].Source = arena.Text(example.Source);
                    list[i].Value = arena.Text(example.Value);
                }
                var address = (IntPtr)list;
                return new Extractor(handle.Use(model =>
                {
                    IntPtr extractor, error;
                    Interop.Check(NativeMethods.ExtractorNew(model, text.Data, text.Length, words.Data, words.Length,
                        (NativeMethods.Example*)address, (UIntPtr)count, &extractor, &error), error);
                    return extractor;
                }));
            }
        }

        /// <summary>What the model is and how it runs, as a JSON object.</summary>
        public string Info => handle.Use(model =>
        {
            NativeMethods.Str info;
            IntPtr error;
            Interop.Check(NativeMethods.ModelInfo(model, &info, &error), error);
            return Interop.Take(info);
        });

        /// <summary>How many tokens the model gives logits for.</summary>
        public int VocabularySize => checked((int)Sizes().VocabularySize);

        /// <summary>The most tokens of a prompt and its answer together.</summary>
        public int ContextLength => checked((int)Sizes().ContextLength);

        private NativeMethods.Sizes Sizes()
        {
            return handle.Use(model =>
            {
                NativeMethods.Sizes sizes;
                IntPtr error;
                Interop.Check(NativeMethods.ModelSizes(model, &sizes, (UIntPtr)sizeof(NativeMethods.Sizes), &error), error);
                return sizes;
            });
        }

        /// <summary>How the model's publisher recommends to choose tokens.</summary>
        public SamplingOptions RecommendedSampling => handle.Use(model =>
        {
            NativeMethods.SamplingOptions options;
            IntPtr error;
            Interop.Check(NativeMethods.ModelSampling(model, &options, (UIntPtr)sizeof(NativeMethods.SamplingOptions), &error), error);
            return SamplingOptions.FromNative(options);
        });

        /// <summary>How many tokens a text has.</summary>
        public int CountTokens(string text, TokenizeMode mode = TokenizeMode.Prompt)
        {
            using (var arena = new Arena())
            {
                var native = arena.Required(text, nameof(text));
                return handle.Use(model =>
                {
                    UIntPtr count;
                    IntPtr error;
                    Interop.Check(NativeMethods.CountTokens(model, native.Data, native.Length, (int)mode, &count, &error), error);
                    return checked((int)count);
                });
            }
        }

        /// <summary>The tokens of a text.</summary>
        public uint[] Tokenize(string text, TokenizeMode mode = TokenizeMode.Prompt)
        {
            var capacity = CountTokens(text, mode);
            using (var arena = new Arena())
            {
                var native = arena.Required(text, nameof(text));
                var tokens = (IntPtr)arena.Zeroed(capacity, sizeof(uint));
                return handle.Use(model =>
                {
                    UIntPtr count;
                    IntPtr error;
                    Interop.Check(NativeMethods.Tokenize(model, native.Data, native.Length, (int)mode, (uint*)tokens, (UIntPtr)capacity,
                        &count, &error), error);
                    var result = new uint[(int)count];
                    for (var i = 0; i < result.Length; i++) result[i] = ((uint*)tokens)[i];
                    return result;
                });
            }
        }

        /// <summary>The text of tokens.</summary>
        public string Detokenize(IReadOnlyList<uint> tokens, bool skipSpecialTokens = false)
        {
            using (var arena = new Arena())
            {
                var list = (IntPtr)arena.Tokens(tokens, nameof(tokens));
                return handle.Use(model =>
                {
                    NativeMethods.Str text;
                    IntPtr error;
                    Interop.Check(NativeMethods.Detokenize(model, (uint*)list, (UIntPtr)tokens.Count, skipSpecialTokens ? 1u : 0u, &text,
                        &error), error);
                    return Interop.Take(text);
                });
            }
        }

        /// <summary>The prompt that the chat template makes of a conversation.</summary>
        public string Render(IReadOnlyList<ChatMessage> messages, string templateOptions = "")
        {
            using (var arena = new Arena())
            {
                var list = (IntPtr)arena.Messages(messages);
                var options = arena.Text(templateOptions);
                return handle.Use(model =>
                {
                    NativeMethods.Str text;
                    IntPtr error;
                    Interop.Check(NativeMethods.RenderChat(model, (NativeMethods.Message*)list, (UIntPtr)messages.Count, options.Data,
                        options.Length, &text, &error), error);
                    return Interop.Take(text);
                });
            }
        }

        /// <summary>Gives the model up. It is unloaded when no session or stream needs it any more.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }
    }
}
