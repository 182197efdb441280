using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;

namespace EdgeSlm
{
    /// <summary>Texts and failures of the library.</summary>
    internal static unsafe class Interop
    {
        static Interop()
        {
            var found = NativeMethods.LibraryAbiVersion();
            if (found != NativeMethods.AbiVersion)
            {
                throw new DllNotFoundException("the native library edgeslm has version " + found + " of the ABI, and this assembly needs "
                    + NativeMethods.AbiVersion);
            }
        }

        internal static string Text(NativeMethods.Str text)
        {
            return text.Length == UIntPtr.Zero ? "" : Encoding.UTF8.GetString(text.Data, checked((int)text.Length));
        }

        internal static string Text(byte* text)
        {
            var length = 0;
            while (text[length] != 0) length++;
            return Encoding.UTF8.GetString(text, length);
        }

        /// <summary>Throws what a call stored in <paramref name="error"/>, if it failed.</summary>
        internal static void Check(int status, IntPtr error)
        {
            if (status == NativeMethods.Ok) return;
            SlmException exception;
            try
            {
                var reason = Text(NativeMethods.ErrorMessage(error));
                if (reason.Length == 0) reason = Text(NativeMethods.StatusName(status));
                exception = new SlmException((SlmStatus)status, reason, Text(NativeMethods.ErrorFile(error)),
                    Text(NativeMethods.ErrorPlace(error)), Text(NativeMethods.ErrorHint(error)));
            }
            finally
            {
                NativeMethods.ErrorFree(error);
            }
            throw exception;
        }

        /// <summary>Takes an owned text of the library.</summary>
        internal static string Take(NativeMethods.Str owned)
        {
            try
            {
                return Text(owned);
            }
            finally
            {
                NativeMethods.StringFree(&owned);
            }
        }

        internal static ulong Milliseconds(TimeSpan? deadline)
        {
            // 0 would mean no limit.
            return deadline.HasValue ? (ulong)Math.Max(1, deadline.Value.TotalMilliseconds) : 0;
        }
    }

    /// <summary>Native memory that lives for one call.</summary>
    internal sealed unsafe class Arena : IDisposable
    {
        private readonly List<IntPtr> blocks = new List<IntPtr>();

        public void Dispose()
        {
            foreach (var block in blocks) Marshal.FreeHGlobal(block);
            blocks.Clear();
        }

        /// <summary>Zeroed memory for <paramref name="count"/> elements of <paramref name="size"/> bytes, and at least one.</summary>
        internal void* Zeroed(int count, int size)
        {
            var bytes = checked(Math.Max(1, count) * size);
            var block = Marshal.AllocHGlobal(bytes);
            blocks.Add(block);
            for (var i = 0; i < bytes; i++) ((byte*)block)[i] = 0;
            return (void*)block;
        }

        internal NativeMethods.Str Text(string text)
        {
            var encoded = Encoding.UTF8.GetBytes(text ?? "");
            var data = (byte*)Zeroed(encoded.Length, sizeof(byte));
            Marshal.Copy(encoded, 0, (IntPtr)data, encoded.Length);
            return new NativeMethods.Str { Data = data, Length = (UIntPtr)encoded.Length };
        }

        internal NativeMethods.Str* Texts(IReadOnlyList<string> texts)
        {
            var list = (NativeMethods.Str*)Zeroed(texts.Count, sizeof(NativeMethods.Str));
            for (var i = 0; i < texts.Count; i++) list[i] = Text(texts[i]);
            return list;
        }

        internal NativeMethods.Message* Messages(IReadOnlyList<ChatMessage> messages)
        {
            var list = (NativeMethods.Message*)Zeroed(messages.Count, sizeof(NativeMethods.Message));
            for (var i = 0; i < messages.Count; i++)
            {
                list[i].Role = Text(messages[i].Role);
                list[i].Content = Text(messages[i].Content);
            }
            return list;
        }

        internal uint* Tokens(IReadOnlyList<uint> tokens)
        {
            var list = (uint*)Zeroed(tokens.Count, sizeof(uint));
            for (var i = 0; i < tokens.Count; i++) list[i] = tokens[i];
            return list;
        }
    }

    internal delegate void FreeHandle(IntPtr handle);

    /// <summary>A handle of the library, kept while a call uses it.</summary>
    internal sealed class NativeHandle : SafeHandle
    {
        private readonly FreeHandle free;

        internal NativeHandle(IntPtr value, FreeHandle free) : base(IntPtr.Zero, true)
        {
            this.free = free;
            SetHandle(value);
        }

        public override bool IsInvalid => handle == IntPtr.Zero;

        protected override bool ReleaseHandle()
        {
            free(handle);
            return true;
        }

        /// <summary>Runs a call with the handle's value, which stays valid meanwhile.</summary>
        internal T Use<T>(Func<IntPtr, T> call)
        {
            var added = false;
            try
            {
                DangerousAddRef(ref added);
                return call(DangerousGetHandle());
            }
            finally
            {
                if (added) DangerousRelease();
            }
        }
    }
}
