using System;
using System.Collections.Generic;

namespace EdgeSlm
{
    /// <summary>What answers may look like; made by a <see cref="Model"/>. Any number of threads and sessions of the model may use it.</summary>
    public sealed unsafe class Grammar : IDisposable
    {
        internal Grammar(IntPtr value)
        {
            Handle = new NativeHandle(value, NativeMethods.GrammarFree);
        }

        internal NativeHandle Handle { get; }

        /// <summary>Gives the grammar up. Answers that were given it are not disturbed.</summary>
        public void Dispose()
        {
            Handle.Dispose();
        }
    }

    /// <summary>Which fields are wanted of a text; made by a <see cref="Model"/>.</summary>
    public sealed unsafe class Extractor : IDisposable
    {
        internal Extractor(IntPtr value)
        {
            Handle = new NativeHandle(value, NativeMethods.ExtractorFree);
        }

        internal NativeHandle Handle { get; }

        /// <summary>Gives the extractor up.</summary>
        public void Dispose()
        {
            Handle.Dispose();
        }
    }

    /// <summary>A text, and the JSON object that an extraction from it should give.</summary>
    public sealed class ExtractionExample
    {
        /// <summary>A text and what is wanted of it.</summary>
        public ExtractionExample(string source, string value)
        {
            Source = source ?? throw new ArgumentNullException(nameof(source));
            Value = value ?? throw new ArgumentNullException(nameof(value));
        }

        /// <summary>The text.</summary>
        public string Source { get; }

        /// <summary>A JSON object.</summary>
        public string Value { get; }
    }

    /// <summary>What was found in a text.</summary>
    public sealed class Extraction
    {
        internal Extraction(string value, string fields, Completion completion)
        {
            Value = value;
            Fields = fields;
            Completion = completion;
        }

        /// <summary>A JSON object, with null for every field that the text does not contain.</summary>
        public string Value { get; }

        /// <summary>
        /// A JSON array with an object for each value of the model's answer: <c>path</c>, <c>value</c>, and <c>support</c>, which is
        /// found (with the bytes <c>start</c> to <c>end</c> of the text in UTF-8), missing, unsupported or chosen.
        /// </summary>
        public string Fields { get; }

        /// <summary>Whether the model said all that it wanted to.</summary>
        public Completion Completion { get; }
    }

    /// <summary>What a grammar is made from.</summary>
    public enum GrammarKind
    {
        /// <summary>A JSON schema, drafts 4 to 2020-12.</summary>
        JsonSchema = 1,
        /// <summary>A regular expression that the whole answer matches.</summary>
        Regex = 2,
        /// <summary>A grammar in llguidance's variant of Lark, whose rule <c>start</c> is the answer.</summary>
        Lark = 3,
    }
}
